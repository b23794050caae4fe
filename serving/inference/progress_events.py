"""Progress events of a recognizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from affectstream.serving.inference.prediction import WindowPrediction
from affectstream.serving.inference.windows import Window


@dataclass(frozen=True)
class FileOpened:
    """The file was opened; nothing is decoded yet.

    Attributes:
      sample_rate_hz: of the windows' waveforms; None if audio is not decoded.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    sample_rate_hz: int | None


@dataclass(frozen=True)
class WindowsDone:
    """Some consecutive windows are done.

    Attributes:
      windows: in time order, including those without a prediction.
      predictions: of the windows with usable input; matched by start and end.
    """

    windows: Sequence[Window]
    predictions: Sequence[WindowPrediction]


ProgressCallback = Callable[[FileOpened | WindowsDone], None]
