"""Encoders: features of one stream -> an embedding; and what encoders share."""
