"""Printed reports of commands."""
