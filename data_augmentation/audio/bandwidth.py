"""Low-pass filter: simulates a telephone or an old recorder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.audio.speed import resample_to_length
from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    check_between,
    check_ordered,
)


@dataclass(frozen=True, kw_only=True)
class Bandwidth(AudioTransform):
    """Removes frequencies above a cut-off, by resampling down and up again.

    The length is kept. A cut-off at or above half the sample rate changes nothing.

    Parameters of `apply`: `cutoff_hz` float above 0.

    Attributes:
      min_cutoff_hz, max_cutoff_hz: range of the cut-off, uniform in its logarithm, within
        [500, 100000]; a telephone passes up to 3,400 Hz, sound of 8 kHz up to 4,000 Hz.
    """

    name: ClassVar[str] = "bandwidth"

    min_cutoff_hz: float = 3_400.0
    max_cutoff_hz: float = 7_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_cutoff_hz", self.min_cutoff_hz, 500.0, 100_000.0)
        check_between("max_cutoff_hz", self.max_cutoff_hz, 500.0, 100_000.0)
        check_ordered("min_cutoff_hz", self.min_cutoff_hz, "max_cutoff_hz", self.max_cutoff_hz)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `cutoff_hz`, in whole hertz."""
        drawn = rng.uniform(math.log(self.min_cutoff_hz), math.log(self.max_cutoff_hz))
        cutoff_hz = float(round(math.exp(drawn)))
        return {"cutoff_hz": min(max(cutoff_hz, self.min_cutoff_hz), self.max_cutoff_hz)}

    def _apply(self, waveform: np.ndarray, sample_rate_hz: int, *, cutoff_hz: float) -> np.ndarray:
        ratio = 2 * cutoff_hz / sample_rate_hz
        if ratio >= 1:
            return waveform
        narrow = resample_to_length(waveform, 1 / ratio, max(1, round(waveform.size * ratio)))
        return resample_to_length(narrow, ratio, waveform.size)
