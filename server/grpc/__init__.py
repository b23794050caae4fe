"""TensorFlow Serving's gRPC API with its published messages."""
