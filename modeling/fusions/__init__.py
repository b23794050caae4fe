"""Fusions: logits and embeddings of the streams -> one answer."""
