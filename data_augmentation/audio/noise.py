"""Background noise at a given signal-to-noise ratio."""

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
class Noise(AudioTransform):
    """Adds white noise.

    The ratio is that of the mean powers over the whole clip, pauses included. The noise is white
    with uniform amplitudes: four times cheaper to draw than Gaussian ones, and equal to them in
    any spectrum of more than a few samples. A silent clip has no ratio and stays silent.

    Parameters of `apply`: `snr_db` float; `noise_seed` int from 0, which fixes the noise.

    Attributes:
      min_snr_db, max_snr_db: range of the ratio, uniform in dB, within [-30, 100].
    """

    name: ClassVar[str] = "noise"

    min_snr_db: float = 5.0
    max_snr_db: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_snr_db", self.min_snr_db, -30.0, 100.0)
        check_between("max_snr_db", self.max_snr_db, -30.0, 100.0)
        check_ordered("min_snr_db", self.min_snr_db, "max_snr_db", self.max_snr_db)

    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws `snr_db` and `noise_seed`."""
        return {
            "snr_db": float(rng.uniform(self.min_snr_db, self.max_snr_db)),
            "noise_seed": int(rng.integers(2**32)),
        }

    def _apply(
        self, waveform: np.ndarray, sample_rate_hz: int, *, snr_db: float, noise_seed: int
    ) -> np.ndarray:
        signal_rms = _rms(waveform)
        if signal_rms == 0.0:
            return waveform
        noise = np.random.default_rng(noise_seed).random(waveform.size, dtype=np.float32)
        noise -= np.float32(0.5)
        noise_rms = _rms(noise)
        if noise_rms == 0.0:
            return waveform
        noise *= np.float32(signal_rms * 10.0 ** (-snr_db / 20.0) / noise_rms)
        noise += waveform
        return noise


def _rms(waveform: np.ndarray) -> float:
    """Root mean square, in double precision so that faint clips do not underflow.

    Not by `np.dot`: its threads wait for each other, 16 ms where the other core is busy.
    """
    energy = np.einsum("i,i->", waveform, waveform, dtype=np.float64)
    return float(np.sqrt(energy / waveform.size))
