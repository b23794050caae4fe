"""TensorFlow Serving's gRPC API over the published messages."""
