"""Progress events of a recognizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from affectstream.serving.inference.prediction import WindowPrediction
from affectstream.serving.inference.windows import Window


@dataclass(frozen=True)
class FileOpened:
    """The file could be opened; nothing is decoded yet.

    Attributes:
      sample_rate_hz: of the windows' waveforms; None where sound is not decoded.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    sample_rate_hz: int | None


@dataclass(frozen=True)
class WindowsDone:
    """Some consecutive windows are done.

    Attributes:
      windows: in order of time, including those without a prediction.
      predictions: of those with anything usable in them; start and end say which.
    """

    windows: Sequence[Window]
    predictions: Sequence[WindowPrediction]


ProgressCallback = Callable[[FileOpened | WindowsDone], None]
