"""Prepared data: data folders, splits, leakage checks, duplicates, feature tables."""
