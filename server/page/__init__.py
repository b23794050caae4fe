"""The page at `/` and its API."""
