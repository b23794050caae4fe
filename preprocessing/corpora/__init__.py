"""Readers of corpora, one a corpus or a family of corpora."""
