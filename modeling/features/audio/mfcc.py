"""Mel-frequency cepstral coefficients."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames
from affectstream.modeling.features.audio.mel import NUM_MELS, mel_power

NUM_MFCCS = 40


def mfcc(sound: AudioFrames) -> Any:
    """The first 40 coefficients of the log-mel spectrum.

    Returns:
      (batch, frames, 40) float64. Agrees to 1e-3 with librosa 0.11 `feature.mfcc(y=y, sr=16000,
      n_mfcc=40, n_fft=1024, hop_length=256)`: 128 bands, orthonormal DCT-II, range 80 dB.
    Source: Davis & Mermelstein 1980.
    """
    return sound.level_db(mel_power(sound)) @ tf.constant(_cosines(), sound.dtype)


@cache
def _cosines() -> np.ndarray:
    """(mels, coefficients) float64."""
    from scipy.fft import dct

    return dct(np.eye(NUM_MELS), type=2, norm="ortho", axis=1)[:, :NUM_MFCCS].copy()
