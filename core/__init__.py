"""Used by every package: errors, storage paths, atomic files, registry, progress, signals."""
