"""Layers that change spectrograms inside the model, in training only."""
