"""Cross-validation over folds of whole speakers, and leakage scenarios."""
