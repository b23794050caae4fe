"""Damaged files, kills, full disks, hostile requests."""
