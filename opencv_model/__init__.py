"""Faces: detectors and their weights, which face to follow, square crops."""
