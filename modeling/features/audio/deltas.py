"""How features change over time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

WIDTH = 9


def delta(values: Any, num_frames: Any, order: int) -> Any:
    """Derivative of the polynomial of degree `order` with the best fit to nine frames.

    The derivative is constant over its nine frames, so frames at either end of a clip take that of
    the nearest complete neighbourhood.

    Args:
      values: (batch, frames, dim) float64.
      num_frames: (batch,) int32, valid frames of each.
      order: 1 or 2.
    Returns:
      (batch, frames, dim) float64; zero for a clip of fewer than nine frames, which librosa
      refuses.
      Agrees to 1e-4 with librosa 0.11 `feature.delta(values, width=9, order=order, mode="interp")`.
    Source: Savitzky & Golay 1964.
    """
    half = WIDTH // 2
    width = tf.shape(values)[1]
    last = tf.maximum(num_frames - 1 - half, half)[:, None]
    centre = tf.minimum(tf.maximum(tf.range(width)[None, :], half), last)
    reach = centre[..., None] + tf.range(-half, half + 1)
    around = tf.gather(values, tf.minimum(reach, width - 1), axis=1, batch_dims=1)
    slope = tf.einsum("btwd,w->btd", around, tf.constant(_weights(order)))
    return tf.where((num_frames >= WIDTH)[:, None, None], slope, tf.zeros_like(slope))


@cache
def _weights(order: int) -> np.ndarray:
    """(9,) float64, in time order."""
    from scipy.signal import savgol_coeffs

    return savgol_coeffs(WIDTH, order, deriv=order, use="dot")
