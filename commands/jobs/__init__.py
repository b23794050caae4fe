"""What `predict` and `preprocess` do step by step."""
