"""Options of an analysis request."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from affectstream.server.errors import invalid

FACES = ("largest", "all")
WINDOW_RANGE_S = (0.2, 60.0)
HOP_RANGE_S = (0.1, 60.0)
MAX_TEXT_LETTERS = 10_000
# `float` alone also accepts 1_0, nan, and digits of any script.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class AnalysisOptions:
    """Options of a client, with the bounds of `predict`.

    Attributes:
      face: "largest", or "all" to predict for each face as well.
      window_s, hop_s: length and largest step of the windows in seconds; None uses the model's.
      text: transcript, for a model with a text stream.
    """

    face: str = "largest"
    window_s: float | None = None
    hop_s: float | None = None
    text: str | None = None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> AnalysisOptions:
        """Reads the options of a request.

        Raises:
          ServingError: an option is unknown or out of bounds; the message names it.
        """
        known = list(cls.__dataclass_fields__)
        for name in options:
            if name not in known:
                raise invalid(f"{name[:40]!r}: unknown option; known are {', '.join(known)}")
        face = options.get("face", cls.face)
        if face not in FACES:
            raise invalid(f"face={face[:40]!r}: one of {', '.join(FACES)} is needed")
        window_s = _seconds("window_s", options.get("window_s"), *WINDOW_RANGE_S)
        hop_s = _seconds("hop_s", options.get("hop_s"), *HOP_RANGE_S)
        if window_s is not None and hop_s is not None and hop_s > window_s:
            raise invalid(f"hop_s={hop_s:g} must not be above window_s={window_s:g}")
        text = options.get("text")
        if text is not None and len(text) > MAX_TEXT_LETTERS:
            raise invalid(f"text: {len(text)} letters, at most {MAX_TEXT_LETTERS} are read")
        return cls(face, window_s, hop_s, text)


def _seconds(name: str, text: str | None, lowest: float, highest: float) -> float | None:
    if text is None:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not lowest <= value <= highest:
        raise invalid(f"{name}={text[:40]!r}: a number from {lowest:g} to {highest:g} is needed")
    return value
