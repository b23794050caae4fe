"""Measurements behind the tables of docs/, each by one command."""
