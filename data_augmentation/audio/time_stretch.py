"""Time stretching: changes the tempo and keeps the pitch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.audio.wsola import time_stretch
from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    check_between,
    check_ordered,
)


@dataclass(frozen=True, kw_only=True)
class TimeStretch(AudioTransform):
    """Changes the tempo and keeps the pitch, by waveform-similarity overlap-add.

    Takes about 2 ms for each second of sound. A waveform of n samples becomes
    max(1, round(n / rate)) long.

    Parameters of `apply`: `rate` float above 0; 1.25 is faster, shortening to 1 / 1.25.

    Attributes:
      min_rate, max_rate: range of the rate, uniform, within [0.25, 4].
    Source: Verhelst & Roelands 1993; see `affectstream.data_augmentation.audio.wsola`.
    """

    name: ClassVar[str] = "time_stretch"

    min_rate: float = 0.85
    max_rate: float = 1.15

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_rate", self.min_rate, 0.25, 4.0)
        check_between("max_rate", self.max_rate, 0.25, 4.0)
        check_ordered("min_rate", self.min_rate, "max_rate", self.max_rate)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `rate`."""
        return {"rate": float(rng.uniform(self.min_rate, self.max_rate))}

    def _apply(self, waveform: np.ndarray, sample_rate_hz: int, *, rate: float) -> np.ndarray:
        return time_stretch(waveform, sample_rate_hz, rate)
