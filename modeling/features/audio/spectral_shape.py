"""Centroid, bandwidth, roll-off and flatness of a spectrum."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import MIN_POWER, AudioFrames, safe_divide

ROLL_OFF = 0.85


def centroid_hz(sound: AudioFrames) -> Any:
    """Mean frequency, weighted by magnitude.

    Returns:
      (batch, frames, 1) float64 Hz, 0 in silence. Agrees to 1e-2 Hz with librosa 0.11
      `feature.spectral_centroid(y=y, sr=16000, n_fft=1024, hop_length=256)`.
    """
    return tf.reduce_sum(_shares(sound) * _frequencies(sound), axis=-1, keepdims=True)


def bandwidth_hz(sound: AudioFrames) -> Any:
    """Magnitude-weighted deviation from the centroid.

    Returns:
      (batch, frames, 1) float64 Hz, 0 in silence. Agrees to 1e-2 Hz with librosa 0.11
      `feature.spectral_bandwidth(y=y, sr=16000, n_fft=1024, hop_length=256)`, p 2.
    """
    deviation = tf.square(_frequencies(sound) - centroid_hz(sound))
    return tf.sqrt(tf.reduce_sum(_shares(sound) * deviation, axis=-1, keepdims=True))


def roll_off_hz(sound: AudioFrames) -> Any:
    """Frequency of the bin below which 85 % of the magnitude lies.

    Returns:
      (batch, frames, 1) float64 Hz, 0 in silence. Equals librosa 0.11
      `feature.spectral_rolloff(y=y, sr=16000, n_fft=1024, hop_length=256)`, roll_percent 0.85.
    """
    below = tf.cumsum(sound.magnitude, axis=-1)
    is_short = below < ROLL_OFF * below[..., -1:]
    place = tf.reduce_sum(tf.cast(is_short, tf.int32), axis=-1, keepdims=True)
    return tf.gather(_frequencies(sound), place)


def flatness(sound: AudioFrames) -> Any:
    """Geometric divided by arithmetic mean of the power: 1 for white noise, near 0 for a tone.

    Returns:
      (batch, frames, 1) float64 in [0, 1], 1 in silence. Agrees to 1e-5 with librosa 0.11
      `feature.spectral_flatness(y=y, n_fft=1024, hop_length=256)`, amin 1e-10, power 2.
    """
    power = tf.maximum(sound.power, MIN_POWER)
    geometric = tf.exp(tf.reduce_mean(tf.math.log(power), axis=-1, keepdims=True))
    return geometric / tf.reduce_mean(power, axis=-1, keepdims=True)


def _shares(sound: AudioFrames) -> Any:
    """(batch, frames, bins) float64: magnitudes that sum to 1 over a frame."""
    size = tf.reduce_sum(sound.magnitude, axis=-1, keepdims=True)
    return safe_divide(sound.magnitude, size)


def _frequencies(sound: AudioFrames) -> Any:
    return tf.constant(sound.framing.frequencies_hz)
