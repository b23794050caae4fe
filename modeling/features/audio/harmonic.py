"""The harmonic part of audio: continuous in time, narrow in frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing
from affectstream.modeling.features.audio.median import sliding_median

KERNEL = 31


def harmonic(sound: AudioFrames) -> Any:
    """Harmonic part of one clip.

    Takes one clip at a time: the medians of a batch of 32 clips of 10 s would need gigabytes.

    Args:
      sound: a batch of one clip without padding, one sample or more.
    Returns:
      (samples,) float64. Agrees to 1e-5 with librosa 0.11
      `effects.harmonic(y, n_fft=1024, hop_length=256)`: kernel_size 31, power 2, margin 1.
    Source: Fitzgerald, Harmonic/percussive separation using median filtering, 2010.
    """
    share = _harmonic_share(tf.cast(sound.magnitude[0], tf.float32))
    kept = sound.spectrum[0] * tf.cast(share, tf.complex128)
    return _inverse(kept, sound.framing)[: tf.shape(sound.waveform)[1]]


def _harmonic_share(magnitude: Any) -> Any:
    """(frames, bins) float32 in [0, 1], the harmonic share; 0.5 for bins without energy."""
    along_time = sliding_median(magnitude, KERNEL)
    along_frequency = tf.transpose(sliding_median(tf.transpose(magnitude), KERNEL))
    greater = tf.maximum(along_time, along_frequency)
    is_empty = greater < np.finfo(np.float32).tiny
    scale = tf.where(is_empty, tf.ones_like(greater), greater)
    ours, theirs = tf.square(along_time / scale), tf.square(along_frequency / scale)
    whole = tf.where(is_empty, tf.ones_like(greater), ours + theirs)
    return tf.where(is_empty, 0.5 * tf.ones_like(greater), ours / whole)


def _inverse(spectrum: Any, framing: Framing) -> Any:
    """(samples,) float64 from (frames, bins), starting at the centre of the first frame."""
    window = tf.signal.hann_window(framing.fft_samples, dtype=tf.float64)
    frames = tf.signal.irfft(spectrum, [framing.fft_samples]) * window
    weights = tf.broadcast_to(tf.square(window), tf.shape(frames))
    added = tf.signal.overlap_and_add(frames, framing.hop_samples)
    weight = tf.signal.overlap_and_add(weights, framing.hop_samples)
    tiny = np.finfo(np.float64).tiny
    return (added / tf.where(weight > tiny, weight, tf.ones_like(weight)))[
        framing.fft_samples // 2 :
    ]
