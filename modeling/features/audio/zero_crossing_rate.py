"""Rate of sign changes in a waveform."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames

# Values nearer to zero count as zero, and zero counts as positive.
THRESHOLD = 1e-10


def zero_crossing_rate(sound: AudioFrames) -> Any:
    """Sign changes within a frame, divided by its number of samples.

    At the ends, the first and last sample are repeated, not zeros, for the half frames that extend
    beyond a clip.

    Returns:
      (batch, frames, 1) float64 in [0, 1). Agrees to 1e-6 with librosa 0.11
      `feature.zero_crossing_rate(y, frame_length=1024, hop_length=256)`.
    """
    size, hop = sound.framing.fft_samples, sound.framing.hop_samples
    samples = tf.shape(sound.waveform)[1]
    last = tf.maximum(sound.length - 1, 0)[:, None]
    place = tf.maximum(tf.range(-(size // 2), samples + size // 2), 0)[None, :]
    is_negative = tf.pad(sound.waveform, [[0, 0], [0, 1]]) < -THRESHOLD
    sides = tf.gather(is_negative, tf.minimum(place, last), axis=1, batch_dims=1)
    changes = tf.cast(sides[:, 1:] != sides[:, :-1], tf.int32)
    so_far = tf.pad(tf.cumsum(changes, axis=1), [[0, 0], [1, 0]])
    behind = so_far[:, size - 1 :: hop]
    count = behind - so_far[:, ::hop][:, : tf.shape(behind)[1]]
    return tf.cast(count, tf.float64)[..., None] / size
