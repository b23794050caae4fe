"""Pitch shifting: changes the pitch and keeps the tempo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.audio.speed import resample_to_length
from affectstream.data_augmentation.audio.wsola import time_stretch
from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    check_between,
    check_ordered,
)


@dataclass(frozen=True, kw_only=True)
class PitchShift(AudioTransform):
    """Changes the pitch and keeps length and tempo: overlap-add to another length, then resampling.

    Takes about 2 ms for each second of sound. The formants move with the pitch, as for a smaller
    or larger speaker. Pitch carries emotion: keep the range small.

    Parameters of `apply`: `semitones` float; 12 doubles every frequency.

    Attributes:
      min_semitones, max_semitones: range of the shift, uniform, within [-24, 24].
    Source: Verhelst & Roelands 1993; see `affectstream.data_augmentation.audio.wsola`.
    """

    name: ClassVar[str] = "pitch_shift"

    min_semitones: float = -2.0
    max_semitones: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_semitones", self.min_semitones, -24.0, 24.0)
        check_between("max_semitones", self.max_semitones, -24.0, 24.0)
        check_ordered("min_semitones", self.min_semitones, "max_semitones", self.max_semitones)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `semitones`."""
        return {"semitones": float(rng.uniform(self.min_semitones, self.max_semitones))}

    def _apply(self, waveform: np.ndarray, sample_rate_hz: int, *, semitones: float) -> np.ndarray:
        factor = 2.0 ** (semitones / 12.0)
        lengthened = time_stretch(waveform, sample_rate_hz, 1.0 / factor)
        return resample_to_length(lengthened, factor, waveform.size)
