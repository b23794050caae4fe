"""Reads exported models without TensorFlow."""
