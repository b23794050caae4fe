"""Transforms of text."""
