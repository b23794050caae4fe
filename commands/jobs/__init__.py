"""The steps of `predict` and `preprocess`."""
