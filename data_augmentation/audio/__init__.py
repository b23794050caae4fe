"""Transforms of waveforms."""
