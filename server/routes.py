"""URL paths used by several modules."""

from __future__ import annotations

PAGE = "/"
ABOUT = "/v1/about"
ANALYZE = "/v1/analyze"
HEALTH = "/healthz"
READY = "/readyz"
MODELS = "/v1/models"
METRICS = ("/metrics", "/monitoring/prometheus/metrics")
PAGE_SUFFIXES = (".css", ".html", ".js")
# First path segments that a proxy prefix must not use, or a path would be ambiguous.
RESERVED_FIRST_SEGMENTS = frozenset(path.split("/")[1] for path in (ABOUT, HEALTH, READY, *METRICS))


def is_model_path(path: str) -> bool:
    """Whether a path is of TensorFlow Serving's REST API; its fixed parts ignore case."""
    return path.lower().startswith(MODELS)
