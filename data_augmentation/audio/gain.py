"""Random gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    check_between,
    check_ordered,
)


@dataclass(frozen=True, kw_only=True)
class Gain(AudioTransform):
    """Multiplies the waveform; a gain that would overdrive the clip stops at peak 1.

    Parameters of `apply`: `gain_db` float.

    Attributes:
      min_gain_db, max_gain_db: range of the gain, uniform in dB, within [-80, 40].
    """

    name: ClassVar[str] = "gain"

    min_gain_db: float = -12.0
    max_gain_db: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_gain_db", self.min_gain_db, -80.0, 40.0)
        check_between("max_gain_db", self.max_gain_db, -80.0, 40.0)
        check_ordered("min_gain_db", self.min_gain_db, "max_gain_db", self.max_gain_db)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `gain_db`."""
        return {"gain_db": float(rng.uniform(self.min_gain_db, self.max_gain_db))}

    def _apply(self, waveform: np.ndarray, sample_rate_hz: int, *, gain_db: float) -> np.ndarray:
        return waveform * np.float32(10.0 ** (gain_db / 20.0))
