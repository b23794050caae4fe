"""Time pooling that looks only at frames with a face."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="affectstream")
class FoldTime(keras.layers.Layer):
    """(batch, time, ...) -> (batch x time, ...), so that a picture network sees single frames."""

    def call(self, frames: Any) -> Any:
        return ops.reshape(frames, (-1, *frames.shape[2:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable(package="affectstream")
class MaskedMean(keras.layers.Layer):
    """Mean over the frames that count.

    Call:
      values: (batch x time, dim) float, as `FoldTime` laid them out.
      mask: (batch, time) bool or number; a row of zeros gives zeros.
    Returns:
      (batch, dim) float.
    """

    def call(self, values: Any, mask: Any) -> Any:
        batch, time = ops.shape(mask)[0], ops.shape(mask)[1]
        values = ops.reshape(values, (batch, time, values.shape[-1]))
        weights = ops.cast(mask, values.dtype)[:, :, None]
        count = ops.maximum(ops.sum(weights, axis=1), 1.0)
        return ops.sum(values * weights, axis=1) / count

    def compute_output_shape(self, values_shape: Any, mask_shape: Any = None) -> Any:
        return (mask_shape[0] if mask_shape else None, values_shape[-1])
