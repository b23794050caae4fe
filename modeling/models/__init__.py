"""Models of one stream and of several, from raw inputs to logits."""
