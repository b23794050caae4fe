"""Writing SavedModels, LiteRT models and bundles for TensorFlow Serving."""
