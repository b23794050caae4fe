"""The embedded server: TensorFlow Serving's API for one machine, and a page to try a model."""
