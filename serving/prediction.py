"""The answer for one recording, as `predict --json` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Probabilities = dict[str, float]


@dataclass(frozen=True)
class WindowPrediction:
    """The answer for one window.

    Attributes:
      streams: what each stream that was there says alone.
      face_coverage: share of the frames looked at that show the followed face; None without video.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: Probabilities
    streams: dict[str, Probabilities]
    face_coverage: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
        }


@dataclass(frozen=True)
class Prediction:
    """The answer for one recording; its probabilities are the mean over the windows.

    Attributes:
      face_coverage: over the whole recording; None without video.
      warnings: what makes the answer weaker than it looks.
      faces: with `all` faces, the answer from each person's face alone.
    """

    path: str
    duration_s: float
    label: str
    probabilities: Probabilities
    streams: dict[str, Probabilities]
    face_coverage: float | None
    windows: tuple[WindowPrediction, ...]
    warnings: tuple[str, ...] = ()
    faces: tuple[dict[str, Any], ...] = ()
    boxes: tuple[tuple[float, tuple[float, float, float, float]], ...] = field(
        default=(), repr=False
    )

    def as_json(self) -> dict[str, Any]:
        value = {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            "label": self.label,
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
            "windows": [window.as_json() for window in self.windows],
            "warnings": list(self.warnings),
        }
        return value | ({"faces": list(self.faces)} if self.faces else {})


def rounded(probabilities: Probabilities) -> Probabilities:
    return {label: round(p, 6) for label, p in probabilities.items()}


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def mean_probabilities(many: list[Probabilities]) -> Probabilities:
    """Mean of each label's probability."""
    return {label: float(np.mean([p[label] for p in many])) for label in many[0]}


def top(probabilities: Probabilities) -> str:
    """The label with the highest probability."""
    return max(probabilities, key=lambda label: probabilities[label])
