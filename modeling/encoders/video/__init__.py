"""Encoders of faces and action units."""
