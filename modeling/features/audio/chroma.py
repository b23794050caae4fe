"""Energy of the twelve pitch classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing, safe_divide

PITCH_CLASSES = ("c", "cis", "d", "dis", "e", "f", "fis", "g", "gis", "a", "ais", "b")


def chroma(sound: AudioFrames) -> Any:
    """Chromagram; the strongest pitch class of a frame is 1.

    Returns:
      (batch, frames, 12) float64 in [0, 1], zero in silence. Agrees to 1e-5 with librosa 0.11
      `feature.chroma_stft(y=y, sr=16000, n_fft=1024, hop_length=256, tuning=0)`, norm inf; without
      `tuning` librosa shifts the classes by its guess for each clip.
    Source: Ellis, Chroma feature analysis and synthesis, 2007.
    """
    raw = sound.power @ tf.constant(_filters(sound.framing), sound.dtype)
    return safe_divide(raw, tf.reduce_max(tf.abs(raw), axis=-1, keepdims=True))


@cache
def _filters(framing: Framing) -> np.ndarray:
    """(bins, pitch classes) float64."""
    from librosa.filters import chroma as chroma_filters

    num_classes = len(PITCH_CLASSES)
    return chroma_filters(
        sr=framing.sample_rate_hz,
        n_fft=framing.fft_samples,
        tuning=0.0,
        n_chroma=num_classes,
        dtype=np.float64,
    ).T
