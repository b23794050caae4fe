"""The answer for one recording, as `predict --json` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from preprocessing.windowing import pool

Probabilities = dict[str, float]


@dataclass(frozen=True)
class WindowPrediction:
    """The answer for one window.

    Attributes:
      label: the most probable one.
      streams: of each stream that counts, what the model would answer if it were the only one.
      face_coverage: share of the frames looked at that show the followed face; None without video.
      sound_coverage: share of the window that holds sound, with 0 for a silent one; None where the
        recording has no sound, or the model does not listen.
      abstain_below: the probability that `label` needs to be given as the answer; None always
        gives it.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: Probabilities
    streams: dict[str, Probabilities]
    face_coverage: float | None
    abstain_below: float | None = None
    sound_coverage: float | None = None

    @property
    def abstained(self) -> bool:
        """Whether no label is probable enough to be given."""
        return is_below(self.probabilities, self.abstain_below)

    def as_json(self) -> dict[str, Any]:
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            **_answer(self),
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
            "sound_coverage": _share(self.sound_coverage),
        }


@dataclass(frozen=True)
class Prediction:
    """The answer for one recording; its probabilities are pooled over the windows.

    Attributes:
      label: the most probable one.
      streams: as of a window, pooled over those in which the stream counts.
      face_coverage, sound_coverage: as of a window, over the whole recording.
      warnings: what makes the answer weaker than it looks.
      faces: with `all` faces, the answer from each person's face alone.
      abstain_below: as of a window; see `abstaining`.
      smooth_s: over how many seconds the windows were averaged; None where they were not.
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
    abstain_below: float | None = None
    smooth_s: float | None = None
    sound_coverage: float | None = None

    @property
    def abstained(self) -> bool:
        """Whether no label is probable enough to be given."""
        return is_below(self.probabilities, self.abstain_below)

    @property
    def abstained_streams(self) -> tuple[str, ...]:
        """The streams that would abstain if they answered alone for the whole recording."""
        return tuple(k for k, p in self.streams.items() if is_below(p, self.abstain_below))

    def as_json(self) -> dict[str, Any]:
        value = {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            **_answer(self),
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
            "sound_coverage": _share(self.sound_coverage),
            "windows": [window.as_json() for window in self.windows],
            "warnings": list(self.warnings),
        }
        if self.abstain_below is not None:
            value["abstained_streams"] = list(self.abstained_streams)
        if self.smooth_s is not None:
            value["smooth_s"] = self.smooth_s
        return value | ({"faces": list(self.faces)} if self.faces else {})


def abstaining(prediction: Prediction, below: float) -> Prediction:
    """The same prediction, which abstains where the highest probability is below a threshold.

    It concerns the recording, each window, each stream over the whole recording and each face; all
    probabilities stay.

    Args:
      below: in (0, 1); a probability equal to it is answered.
    Raises:
      ValueError: `below` is not in (0, 1).
    """
    if not 0 < below < 1:
        raise ValueError(f"below must be in (0, 1), received {below}")
    faces = []
    for face in prediction.faces:
        abstained = is_below(face["probabilities"], below)
        label = None if abstained else face["label"]
        # Beside the label, as of recordings and windows.
        rest = {key: value for key, value in face.items() if key not in ("face", "label")}
        faces.append({"face": face["face"], "label": label, "abstained": abstained, **rest})
    return replace(
        prediction,
        windows=tuple(replace(window, abstain_below=below) for window in prediction.windows),
        faces=tuple(faces),
        abstain_below=below,
    )


def is_below(probabilities: Probabilities, threshold: float | None) -> bool:
    """Whether the highest probability is below a threshold, if there is one."""
    return threshold is not None and max(probabilities.values()) < threshold


def _answer(of: WindowPrediction | Prediction) -> dict[str, Any]:
    """The label, and whether it is withheld where that was asked for."""
    if of.abstain_below is None:
        return {"label": of.label}
    return {"label": None if of.abstained else of.label, "abstained": of.abstained}


def rounded(probabilities: Probabilities) -> Probabilities:
    return {label: round(p, 6) for label, p in probabilities.items()}


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def mean_probabilities(many: list[Probabilities]) -> Probabilities:
    """Mean of each label's probability."""
    return {label: float(np.mean([p[label] for p in many])) for label in many[0]}


def pooled(many: list[Probabilities], pooling: str) -> Probabilities:
    """What windows say as the answer of a recording; see `windowing.pool`."""
    rows = pool([list(one.values()) for one in many], pooling)
    return dict(zip(many[0], map(float, rows), strict=True))


def top(probabilities: Probabilities) -> str:
    """The label with the highest probability."""
    return max(probabilities, key=lambda label: probabilities[label])
