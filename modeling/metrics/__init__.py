"""Scores, calibration, selective prediction, and their plots."""
