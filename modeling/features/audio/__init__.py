"""Audio features; tests compare them with librosa."""
