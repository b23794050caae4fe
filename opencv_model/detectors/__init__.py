"""Face detectors, one a file, and the choice among them."""
