"""Loudness of a waveform over time."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames


def rms(sound: AudioFrames) -> Any:
    """Root mean square of each frame; a clip is padded with zeros at both ends.

    Returns:
      (batch, frames, 1) float64 in [0, 1]. Agrees to 1e-6 with librosa 0.11
      `feature.rms(y=y, frame_length=1024, hop_length=256)`.
    """
    framing = sound.framing
    squares = tf.signal.frame(tf.square(sound.padded), framing.fft_samples, framing.hop_samples)
    return tf.sqrt(tf.reduce_mean(squares, axis=-1, keepdims=True))
