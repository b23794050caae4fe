"""Speed perturbation: changes tempo and pitch together, like a tape at another speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import soxr

from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    check_between,
    check_ordered,
)

_QUALITY = "MQ"
"""Images and aliases below -100 dB, level up to 0.8 of the band; "HQ" is slower, "QQ" dull."""

_STEP_DIGITS = 3
"""Speeds are drawn in steps of 0.001: soxr is faster at a ratio of small whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Speed(AudioTransform):
    """Changes tempo and pitch together, by band-limited resampling.

    A waveform of n samples becomes max(1, round(n / speed)) long; every frequency is multiplied
    by `speed`, and what would pass half the sample rate is filtered away. soxr takes any ratio and
    was 1.5 to 2.5 times as fast as a polyphase filter of a ratio rounded to /50.

    Parameters of `apply`: `speed` float above 0; 1.25 shortens to 1 / 1.25.

    Attributes:
      min_speed, max_speed: range of the speed, uniform, within [0.25, 4].
    Source: Ko et al. 2015, "Audio augmentation for speech recognition" (0.9, 1.0, 1.1).
    """

    name: ClassVar[str] = "speed"

    min_speed: float = 0.9
    max_speed: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_speed", self.min_speed, 0.25, 4.0)
        check_between("max_speed", self.max_speed, 0.25, 4.0)
        check_ordered("min_speed", self.min_speed, "max_speed", self.max_speed)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `speed`."""
        speed = round(float(rng.uniform(self.min_speed, self.max_speed)), _STEP_DIGITS)
        return {"speed": min(max(speed, self.min_speed), self.max_speed)}

    def _apply(self, waveform: np.ndarray, sample_rate_hz: int, *, speed: float) -> np.ndarray:
        return resample_to_length(waveform, speed, max(1, round(waveform.size / speed)))


def resample_to_length(waveform: np.ndarray, speed: float, num_samples: int) -> np.ndarray:
    """Resamples a waveform (samples,) float32 by 1 / speed, to exactly `num_samples`."""
    resampled = soxr.resample(waveform, speed, 1.0, quality=_QUALITY)[:num_samples]
    if resampled.size < num_samples:
        resampled = np.pad(resampled, (0, num_samples - resampled.size))
    return resampled
