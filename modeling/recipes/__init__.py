"""Recipes by name: what they are, their settings, and one table of them for each stream."""
