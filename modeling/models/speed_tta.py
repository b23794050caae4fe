"""Test-time augmentation by speed, in the graph: resample, predict, average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Zero crossings of the filter on each side of a sample, and the shape of the Kaiser window. The
# pass band reaches 0.88 of the narrower Nyquist frequency; images and aliases are below -70 dB from
# 1.02 of it on.
ZERO_CROSSINGS = 32
KAISER_BETA = 7.0
CUTOFF = 0.95
TTA_NEEDS_AUDIO = (
    "a feature table holds no sound that could be heard at other speeds; give recordings, or a"
    " model without speeds"
)
# Decimals of a speed; two keep the number of filter phases small.
SPEED_DECIMALS = 2


@keras.saving.register_keras_serializable(package="affectstream")
class SpeedTTA(keras.layers.Layer):
    """Resamples each waveform to several speeds; tempo and pitch change together.

    A waveform of n samples becomes n / speed samples long, with halves rounded up; otherwise as in
    `affectstream.data_augmentation.audio.speed`. The band-limited resampling is one strided
    convolution per speed, with one filter per phase.

    Args:
      speeds: above 0, with at most two decimals.
      num_samples: length of the result; longer waveforms are cut, shorter ones zero-padded.
    Call:
      audio: (batch, samples) float32, zero-padded.
      audio_length: (batch,) int32, valid samples.
    Returns:
      (batch x speeds, num_samples) float32, (batch x speeds,) int32; the rows of one waveform are
      adjacent.
    Source: Crochiere & Rabiner 1983 (polyphase interpolators); Ko et al. 2015 for the speeds.
    """

    def __init__(self, speeds: Sequence[float], num_samples: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.speeds = [float(speed) for speed in speeds]
        self.num_samples = num_samples
        self._convert_input_args = False

    def call(self, audio: Any, audio_length: Any) -> tuple[Any, Any]:
        ratios = [speed_ratio(speed) for speed in self.speeds]
        resampled = tf.stack([self._resampled(audio, ratio) for ratio in ratios], axis=1)
        length = tf.cast(audio_length, tf.int32)[:, None]
        step = tf.constant([[ratio.numerator for ratio in ratios]], tf.int32)
        phases = tf.constant([[ratio.denominator for ratio in ratios]], tf.int32)
        # Adding half of `step` before the integer division rounds it. Longer waveforms are cut
        # anyway.
        most = tf.cast(tf.shape(audio)[1], tf.int32)
        lengths = (tf.minimum(length, most) * phases + step // 2) // step
        lengths = tf.minimum(lengths, self.num_samples)
        return tf.reshape(resampled, (-1, self.num_samples)), tf.reshape(lengths, (-1,))

    def _resampled(self, audio: Any, ratio: Fraction) -> Any:
        """(batch, num_samples): sample i is the waveform at i x ratio."""
        if ratio == 1:
            return _fitted(audio, self.num_samples)
        kernels, half = polyphase_filters(ratio)
        steps = -(-self.num_samples // ratio.denominator)
        needed = (steps - 1) * ratio.numerator + len(kernels)
        padded = _fitted(tf.pad(audio, [[0, 0], [half, 0]]), needed)[:, :, None]
        samples = tf.nn.conv1d(padded, kernels[:, None, :], ratio.numerator, "VALID")
        return tf.reshape(samples, (-1, steps * ratio.denominator))[:, : self.num_samples]

    def compute_output_spec(self, audio: Any, audio_length: Any) -> Any:
        sound = keras.KerasTensor((None, self.num_samples), "float32")
        return sound, keras.KerasTensor((None,), "int32")

    def get_config(self) -> dict[str, Any]:
        mine = {"speeds": self.speeds, "num_samples": self.num_samples}
        return {**super().get_config(), **mine}


@keras.saving.register_keras_serializable(package="affectstream")
class SpeedTTAMean(keras.layers.Layer):
    """Averages the rows of `SpeedTTA` per waveform: (batch x speeds, dim) -> (batch, dim)."""

    def __init__(self, num_speeds: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_speeds = num_speeds

    def call(self, values: Any) -> Any:
        rows = keras.ops.reshape(values, (-1, self.num_speeds, values.shape[-1]))
        return keras.ops.mean(rows, axis=1)

    def compute_output_shape(self, values_shape: Any) -> Any:
        return (None, values_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_speeds": self.num_speeds}


def speed_ratio(speed: float) -> Fraction:
    """A speed of two decimals as a ratio of integers."""
    return Fraction(round(speed * 10**SPEED_DECIMALS), 10**SPEED_DECIMALS)


def samples_for_speeds(speeds: Sequence[float], num_samples: int) -> int:
    """Samples of a waveform that are read if each speed gives `num_samples`."""
    fastest = max(speed_ratio(speed) for speed in speeds)
    return math.ceil(fastest * num_samples) + polyphase_filters(fastest)[1]


def polyphase_filters(ratio: Fraction) -> tuple[np.ndarray, int]:
    """Windowed sinc filters, one per phase.

    Args:
      ratio: speed, as input samples over output samples.
    Returns:
      (taps, denominator) float32, and the number of taps before the first sample.
    """
    cutoff = CUTOFF * min(1.0, float(1 / ratio))
    reach = ZERO_CROSSINGS / cutoff
    half = math.ceil(reach)
    taps = np.arange(ratio.numerator + 2 * half)[:, None] - half
    places = taps - np.arange(ratio.denominator)[None, :] * float(ratio)
    inside = np.clip(1 - np.square(places / reach), 0, None)
    window = np.where(np.abs(places) < reach, np.i0(KAISER_BETA * np.sqrt(inside)), 0)
    kernels = cutoff * np.sinc(cutoff * places) * window / np.i0(KAISER_BETA)
    return kernels.astype(np.float32), half


def _fitted(rows: Any, size: int) -> Any:
    """Cuts or zero-pads to (batch, size)."""
    missing = tf.maximum(size - tf.shape(rows)[1], 0)
    return tf.ensure_shape(tf.pad(rows, [[0, 0], [0, missing]])[:, :size], (None, size))
