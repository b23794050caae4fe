"""Features of sound; librosa is the reference that tests compare against."""
