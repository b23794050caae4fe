"""Media files: containers, tracks, damage, and the sound and frames of any span."""
