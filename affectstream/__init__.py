"""Affectstream recognises emotion from face, voice and text.

All code is imported under this name. The packages lie beside this folder; the links in it lead
to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affectstream.serving.loading import load

__all__ = ["PROJECT", "load"]

# The folder that this package lies in: the project, or where it is installed.
PROJECT = Path(__file__).resolve().parent.parent


def __getattr__(name: str) -> Any:
    """`load`, imported when it is first asked for: it takes NumPy and OpenCV along."""
    if name == "load":
        from affectstream.serving.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
