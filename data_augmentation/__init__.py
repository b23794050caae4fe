"""Transforms of sound, pictures, text and spectrograms, and chains of them."""
