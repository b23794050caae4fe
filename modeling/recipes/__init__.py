"""Recipes by name: their settings, and one table of recipes for each stream."""
