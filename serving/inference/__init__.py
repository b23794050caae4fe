"""Predictions for any recording with a run, an export or a `.tflite`."""
