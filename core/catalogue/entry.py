"""One row of the registry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One registered component.

    Attributes:
      target: "module:attribute", imported only when the component is used.
      summary: what it is, one line.
      licence: licence of the data, weights or method's code; "" where none applies.
      source: paper, standard or publisher.
      stream: the stream it belongs to, "" for any.
    """

    target: str
    summary: str
    licence: str = ""
    source: str = ""
    stream: str = ""
