"""Power in the bands of the mel scale."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing

NUM_MELS = 128


def mel_power(sound: AudioFrames) -> Any:
    """Mel spectrogram.

    Returns:
      (batch, frames, 128) float64, from 0 Hz to half the sampling rate. Agrees to 1e-6 of the
      loudest with librosa 0.11 `feature.melspectrogram(y=y, sr=16000, n_fft=1024, hop_length=256)`.
    Source: Slaney, Auditory Toolbox 1998.
    """
    return sound.power @ tf.constant(_filters(sound.framing), sound.dtype)


@cache
def _filters(framing: Framing) -> np.ndarray:
    """(bins, mels) float64."""
    from librosa.filters import mel

    return mel(
        sr=framing.sample_rate_hz, n_fft=framing.fft_samples, n_mels=NUM_MELS, dtype=np.float64
    ).T
