"""Autocorrelation of audio at the periods of voices."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import safe_divide

HIGHEST_HZ, LOWEST_HZ = 400, 50
# Share of the mean magnitude: weaker samples become zero, others shrink by this amount.
CENTRE_CLIP = 0.45


def voice_autocorrelation(waveform: Any, sample_rate_hz: int) -> Any:
    """Autocorrelation of the centre-clipped waveform at lags of 50 to 400 Hz, relative to lag 0.

    Args:
      waveform: (samples,) float64, one sample or more.
      sample_rate_hz: of the waveform.
    Returns:
      (lags,) float64 in [-1, 1], 281 lags at 16 kHz; zero in silence. Agrees to 1e-9 with
      librosa 0.11 `autocorrelate(clipped)[40:321] / autocorrelate(clipped)[0]`.
    Source: Sondhi, New methods of pitch extraction, 1968.
    """
    shortest, longest = sample_rate_hz // HIGHEST_HZ, sample_rate_hz // LOWEST_HZ
    magnitude = tf.abs(waveform)
    over = tf.nn.relu(magnitude - CENTRE_CLIP * tf.reduce_mean(magnitude))
    clipped = tf.sign(waveform) * over
    needed = tf.cast(tf.shape(waveform)[0] + longest, tf.float64)
    size = tf.cast(2.0 ** tf.math.ceil(tf.math.log(needed) / np.log(2.0)), tf.int32)
    power = tf.square(tf.abs(tf.signal.rfft(clipped, [size])))
    correlation = tf.signal.irfft(tf.cast(power, tf.complex128), [size])
    # The transform of (almost) zeros is only rounding noise.
    return safe_divide(correlation[shortest : longest + 1], correlation[0])
