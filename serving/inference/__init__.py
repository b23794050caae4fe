"""Any recording -> predictions, by a run, an export or a `.tflite`."""
