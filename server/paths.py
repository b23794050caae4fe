"""Paths of HTTP that more than one file speaks of."""

from __future__ import annotations

PAGE = "/"
ABOUT = "/v1/about"
ANALYZE = "/v1/analyze"
HEALTH = "/healthz"
READY = "/readyz"
