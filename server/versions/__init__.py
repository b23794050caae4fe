"""Model versions in memory, and the batching of their requests."""
