"""Features of face crops and action units."""
