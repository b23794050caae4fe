"""Corpus readers, one per corpus or family of corpora."""
