"""Frames and spectra shared by all audio features, computed once per batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

# The floor of librosa.power_to_db on power, and its range below the loudest bin.
MIN_POWER = 1e-10
RANGE_DB = 80.0


@dataclass(frozen=True)
class Framing:
    """How audio is cut into frames, centred on their hop as with librosa's `center=True`.

    Attributes:
      sample_rate_hz: of the waveforms.
      fft_samples, hop_samples: length of the periodic Hann window and its step.
    """

    sample_rate_hz: int = 16_000
    fft_samples: int = 1024
    hop_samples: int = 256

    @property
    def num_bins(self) -> int:
        return 1 + self.fft_samples // 2

    @property
    def frequencies_hz(self) -> np.ndarray:
        """(bins,) float64."""
        return np.fft.rfftfreq(self.fft_samples, 1 / self.sample_rate_hz)

    def num_frames(self, num_samples: Any) -> Any:
        """Number of frames of a clip of `num_samples` samples, a number or a tensor."""
        return 1 + num_samples // self.hop_samples


class AudioFrames:
    """Waveforms of a batch, with intermediate results that several features share.

    Samples beyond `length` are ignored, so a clip alone and the same clip in a padded batch have
    the same frames. All values are float64, because single precision errs in quiet bins of loud
    frames. LiteRT gets float32, its only type.

    Args:
      waveform: (batch, samples) float in [-1, 1].
      length: (batch,) int, valid samples of each; 0 where the stream is missing.
      framing: frame, hop and rate.
      dtype: of all computed values.
    Attributes:
      waveform: (batch, samples) float64, zero behind the length.
      num_frames: (batch,) int32, valid frames of each; 0 where the stream is missing.
      mask: (batch, frames) bool, True for valid frames.
    """

    def __init__(
        self, waveform: Any, length: Any, framing: Framing, dtype: str = "float64"
    ) -> None:
        self.framing = framing
        self.dtype = dtype
        samples = tf.shape(waveform)[1]
        self.length = tf.clip_by_value(tf.cast(length, tf.int32), 0, samples)
        inside = tf.range(samples)[None, :] < self.length[:, None]
        raw = tf.cast(waveform, dtype)
        self.waveform = tf.where(inside, raw, tf.zeros_like(raw))
        self.num_frames = tf.where(self.length > 0, framing.num_frames(self.length), 0)
        self.mask = frame_mask(self.num_frames, framing.num_frames(samples))

    @cached_property
    def padded(self) -> Any:
        """(batch, fft + samples) float64: with half a frame of zeros at both ends."""
        half = self.framing.fft_samples // 2
        return tf.pad(self.waveform, [[0, 0], [half, half]])

    @cached_property
    def spectrum(self) -> Any:
        """(batch, frames, bins) complex128."""
        return tf.signal.stft(self.padded, self.framing.fft_samples, self.framing.hop_samples)

    @cached_property
    def magnitude(self) -> Any:
        """(batch, frames, bins) float64."""
        return tf.abs(self.spectrum)

    @cached_property
    def power(self) -> Any:
        """(batch, frames, bins) float64."""
        return tf.square(self.magnitude)

    def level_db(self, power: Any) -> Any:
        """Decibels, at least those of the loudest valid frame of a clip minus 80.

        Args:
          power: (batch, frames, dim) float64.
        Returns:
          the same shape, as `librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=80)`.
        """
        level = power_to_db(tf.maximum(power, MIN_POWER))
        quietest = tf.constant(10.0 * np.log10(MIN_POWER), self.dtype)
        counted = tf.where(self.mask[..., None], level, tf.fill(tf.shape(level), quietest))
        loudest = tf.reduce_max(counted, axis=[1, 2], keepdims=True)
        return tf.maximum(level, loudest - RANGE_DB)


def power_to_db(power: Any) -> Any:
    """Decibels of a positive power."""
    return (10.0 / np.log(10.0)) * tf.math.log(power)


def frame_mask(num_frames: Any, width: Any) -> Any:
    """(batch, width) bool, True for the first `num_frames` (batch,) of each row."""
    return tf.range(width)[None, :] < num_frames[:, None]


def safe_divide(values: Any, size: Any) -> Any:
    """`values / size`; a size near zero divides by one as in `librosa.util.normalize`."""
    tiny = np.finfo(size.dtype.as_numpy_dtype).tiny
    return values / tf.where(size < tiny, tf.ones_like(size), size)
