"""Writes SavedModels, LiteRT models and bundles for TensorFlow Serving."""
