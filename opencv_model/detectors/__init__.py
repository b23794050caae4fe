"""Face detectors, one per file, and the choice among them."""
