"""Transforms of face crops."""
