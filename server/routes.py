"""Paths of HTTP that more than one file speaks of."""

from __future__ import annotations

PAGE = "/"
ABOUT = "/v1/about"
ANALYZE = "/v1/analyze"
HEALTH = "/healthz"
READY = "/readyz"
MODELS = "/v1/models"
METRICS = ("/metrics", "/monitoring/prometheus/metrics")
PAGE_ENDINGS = (".css", ".html", ".js")
# What no proxy may put before them, or a path would have two meanings.
FIRST_PARTS = frozenset(path.split("/")[1] for path in (ABOUT, HEALTH, READY, *METRICS))


def is_of_models(path: str) -> bool:
    """Whether a path is of TensorFlow Serving's REST, whose fixed parts go in any case."""
    return path.lower().startswith(MODELS)
