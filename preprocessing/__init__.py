"""From a corpus or any recording to records and data folders; imports no TensorFlow."""
