"""Random shift in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.transform import AudioTransform, Parameters, check_between


@dataclass(frozen=True, kw_only=True)
class TimeShift(AudioTransform):
    """Moves the waveform in time; its length stays.

    Parameters of `apply`: `shift_samples` int, above 0 later, below 0 earlier.

    Attributes:
      max_shift_s: largest shift either way, in [0, 60]; never more than half of the clip.
      wrap: samples that leave at one end enter at the other; otherwise silence enters.
    """

    name: ClassVar[str] = "time_shift"

    max_shift_s: float = 0.2
    wrap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("max_shift_s", self.max_shift_s, 0.0, 60.0)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `shift_samples`."""
        largest = min(round(self.max_shift_s * sample_rate_hz), waveform.size // 2)
        return {"shift_samples": int(rng.integers(-largest, largest, endpoint=True))}

    def _apply(
        self, waveform: np.ndarray, sample_rate_hz: int, *, shift_samples: int
    ) -> np.ndarray:
        if self.wrap:
            return np.roll(waveform, shift_samples)
        shift = max(-waveform.size, min(waveform.size, shift_samples))
        shifted = np.zeros_like(waveform)
        if shift >= 0:
            shifted[shift:] = waveform[: waveform.size - shift]
        else:
            shifted[:shift] = waveform[-shift:]
        return shifted
