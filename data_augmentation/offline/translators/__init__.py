"""Translation services for back-translation."""
