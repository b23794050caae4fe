"""Augmented copies of a data folder, written to disk."""
