"""Tokens, word pieces and TF-IDF of text."""
