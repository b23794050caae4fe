"""Used by every package: errors, paths, atomic files, downloads, registry, progress, signals."""
