"""Frames of a media file and still images."""
