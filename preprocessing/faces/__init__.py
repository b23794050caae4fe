"""Faces of a frame, blendshapes and action units."""
