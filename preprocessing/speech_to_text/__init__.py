"""Transcribers and the cache of their transcripts."""
