"""Cuts a recording into windows and pools their predictions.

`evaluate`, `crossval`, `predict` and the server share this module, so that scores apply to what
users get. It imports no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from affectstream.preprocessing.pcm import SILENCE_PEAK

# === The constants of every model; each model stores its own settings in `client_config` ===

# Chosen by `benchmarks.accuracy.windowing` on validation speakers (docs/results.md, "Windows and
# pooling").
# Largest step between windows, for windows of that length.
HOP_S = 1.5
# A stream that covers less of a window is not used if another stream covers more.
MIN_COVERAGE = 0.4
POOLINGS = ("probabilities", "log-probabilities")
POOLING = "probabilities"

# Silence is decided in frames of this length.
SILENCE_FRAME_S = 0.05
# Lower bound of a probability before its logarithm is taken.
_SMALLEST = 1e-12
# Tolerance, so that rounding of a duration adds no window.
_SLACK = 1e-6
# Decimals of a duration in `clips.csv`.
_DURATION_DIGITS = 6


@dataclass(frozen=True)
class WindowSettings:
    """Window length, hop and pooling for the predictions of a model.

    Attributes:
      window_s: length of a window; a recording up to this long is one window.
      hop_s: the largest step from one window to the next.
      pooling: what is averaged over the windows, one of `POOLINGS`.
      min_coverage: share of a window that a stream must cover to count beside one that does.
    Raises:
      ValueError: a setting out of its range.
    """

    window_s: float = 3.0
    hop_s: float = HOP_S
    pooling: str = POOLING
    min_coverage: float = MIN_COVERAGE

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.window_s:
            raise ValueError(
                f"0 < hop_s <= window_s is needed, received {self.hop_s:g}, {self.window_s:g}"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage must be in [0, 1], received {self.min_coverage}")

    @classmethod
    def for_window(cls, window_s: float) -> WindowSettings:
        """The settings of a model that looks at `window_s` seconds."""
        return cls(window_s, min(HOP_S, window_s))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def with_overrides(self, window_s: float | None, hop_s: float | None) -> WindowSettings:
        """The settings with windows that a user asks for.

        Args:
          window_s, hop_s: None leaves the model's own; a hop is at most its window long.
        Raises:
          ValueError: not 0 < hop_s <= window_s.
        """
        if window_s is None and hop_s is None:
            return self
        window_s = self.window_s if window_s is None else window_s
        hop_s = min(self.hop_s, window_s) if hop_s is None else hop_s
        return replace(self, window_s=window_s, hop_s=hop_s)


# === Windows ===


def window_bounds(duration_s: float, settings: WindowSettings) -> list[tuple[float, float]]:
    """Start and end of each window in seconds.

    One window for a recording of at most `window_s`. Otherwise the windows are `window_s` long, the
    first begins and the last ends with the recording, and their starts are evenly spread, so that
    the end of a recording counts no more than the rest.

    The duration counts in microseconds, as `clips.csv` holds it: a file and its record are cut at
    the same samples.
    """
    window_s, duration_s = settings.window_s, round(duration_s, _DURATION_DIGITS)
    if duration_s <= window_s:
        return [(0.0, duration_s)]
    rest_s = duration_s - window_s
    num_steps = math.ceil(rest_s / settings.hop_s - _SLACK)
    if num_steps < 1:  # longer than a window by less than a rounding error
        return [(0.0, duration_s)]
    starts_s = [step * rest_s / num_steps for step in range(num_steps)]
    return [*((start_s, start_s + window_s) for start_s in starts_s), (rest_s, duration_s)]


def slice_frames(times_s: Sequence[float] | np.ndarray, start_s: float, end_s: float) -> slice:
    """The frames of a window.

    Args:
      times_s: (frames,), ascending: when each came on show. They count as float32, as records hold
        them.
      start_s, end_s: of the window.
    Returns:
      those that came on show within it; where none did, the one that is still on show.
    """
    times = np.asarray(times_s, np.float32).astype(np.float64)
    first, behind = (int(np.searchsorted(times, moment)) for moment in (start_s, end_s))
    if first == behind and first > 0:
        first -= 1
    return slice(first, behind)


def slice_audio(
    waveform: np.ndarray, sample_rate_hz: int, start_s: float, end_s: float
) -> np.ndarray:
    """(samples,): the part of a waveform between two moments, shorter where the sound ends."""
    return waveform[round(start_s * sample_rate_hz) : round(end_s * sample_rate_hz)]


# === What a window holds ===


def sound_coverage(
    waveform: np.ndarray | None, sample_rate_hz: int, duration_s: float = 0.0
) -> float:
    """The share of a stretch that holds sound.

    Frames of 50 ms are judged one by one: a frame is silent where nothing in it departs from its
    mean by -80 dB of full scale. What lies behind the end of the sound counts as silent.

    Args:
      waveform: (samples,) float32 from the beginning of the stretch; None without sound.
      duration_s: of the stretch; that of the waveform where this is longer.
    Returns:
      in [0, 1].
    """
    if waveform is None or not len(waveform):
        return 0.0
    length = max(1, round(SILENCE_FRAME_S * sample_rate_hz))
    num_full = len(waveform) // length
    full, last = np.split(waveform, [num_full * length])
    framed = full.reshape(num_full, length)
    num_sounding = length * int(np.sum(_peaks(framed) >= SILENCE_PEAK))
    if len(last) and _peaks(last[None])[0] >= SILENCE_PEAK:
        num_sounding += len(last)
    return num_sounding / max(len(waveform), round(duration_s * sample_rate_hz))


def _peaks(frames: np.ndarray) -> np.ndarray:
    """(frames,): how far each departs from its mean at most."""
    return np.abs(frames - frames.mean(axis=1, keepdims=True)).max(axis=1, initial=0.0)


def select_streams(coverage: Mapping[str, float], min_coverage: float) -> frozenset[str]:
    """The streams that are used in a window.

    A stream that covers little of a window would otherwise weigh as much as one that is there
    throughout. It still answers where no other stream covers enough.

    Args:
      coverage: of each stream, the share of the window that it covers; 0 where it is missing.
      min_coverage: share that is enough.
    """
    present = {stream for stream, share in coverage.items() if share > 0}
    enough = {stream for stream in present if coverage[stream] >= min_coverage}
    return frozenset(enough or present)


# === The answer ===


def pool(probabilities: Sequence[Sequence[float]] | np.ndarray, pooling: str) -> np.ndarray:
    """Pools the probabilities of windows into those of the recording.

    Args:
      probabilities: (windows, classes).
      pooling: "probabilities" averages these, "log-probabilities" their logarithms.
    Returns:
      (classes,) float64 that add up to 1 as the rows do.
    """
    rows = np.asarray(probabilities, np.float64)
    if len(rows) == 1 or pooling == "probabilities":
        return np.asarray(rows.mean(axis=0))
    mean = np.exp(np.log(np.maximum(rows, _SMALLEST)).mean(axis=0))
    return np.asarray(mean / mean.sum())
