"""Transforms of audio, face crops, text and spectrograms, and chains of them."""
