"""The tests, in the folders of what they test; `support` holds what they share."""

from pathlib import Path

# The folder of the project.
ROOT = Path(__file__).resolve().parent.parent
