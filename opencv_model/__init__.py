"""Faces: detectors and their weights, tracking, square crops, blendshapes."""
