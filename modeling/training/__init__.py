"""Training a stream and training a fusion."""
