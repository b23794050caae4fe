"""Media files: containers, tracks, damage, and the audio and frames of any segment."""
