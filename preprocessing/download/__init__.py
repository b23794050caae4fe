"""Downloading corpora from their publishers."""
