"""Pooling over the frames with a face."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="affectstream")
class MergeTimeAxis(keras.layers.Layer):
    """(batch, time, ...) -> (batch x time, ...), for networks on single images."""

    def call(self, frames: Any) -> Any:
        return ops.reshape(frames, (-1, *frames.shape[2:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable(package="affectstream")
class FlipTTA(keras.layers.Layer):
    """Adds the mirror image of each frame as another frame; does nothing in training.

    Call:
      frames: (batch, time, height, width, channels).
      mask: (batch, time).
    Returns:
      (frames, mask), with twice the time when not training.
    """

    def call(self, frames: Any, mask: Any, training: bool = False) -> tuple[Any, Any]:
        if training:
            return frames, mask
        mirrored = ops.flip(frames, axis=3)
        return ops.concatenate([frames, mirrored], 1), ops.concatenate([mask, mask], 1)

    def compute_output_shape(self, frames_shape: Any, mask_shape: Any = None) -> Any:
        return (frames_shape[0], None, *frames_shape[2:]), (frames_shape[0], None)


@keras.saving.register_keras_serializable(package="affectstream")
class MaskedMean(keras.layers.Layer):
    """Mean over the valid frames.

    Call:
      values: (batch x time, dim) float, from `MergeTimeAxis`, or (batch, time, dim).
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


@keras.saving.register_keras_serializable(package="affectstream")
class SplitTimeAxis(keras.layers.Layer):
    """Undoes `MergeTimeAxis`: (batch x time, ...) -> (batch, time, ...), by the shape of a mask.

    Call:
      values: (batch x time, ...) float.
      mask: (batch, time).
    """

    def call(self, values: Any, mask: Any) -> Any:
        batch, time = ops.shape(mask)[0], ops.shape(mask)[1]
        return ops.reshape(values, (batch, time, *values.shape[1:]))

    def compute_output_shape(self, values_shape: Any, mask_shape: Any = (None, None)) -> Any:
        return (*mask_shape, *values_shape[1:])


@keras.saving.register_keras_serializable(package="affectstream")
class AttentionWeights(keras.layers.Layer):
    """Softmax over the valid frames.

    Call:
      scores: (batch x time, 1) float.
      mask: (batch, time) bool or number.
    Returns:
      (batch, time) float32, each row sums to 1; zeros in a row without valid frames.
    Source: Ilse et al. 2018 (attention pooling).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, scores: Any, mask: Any) -> Any:
        counts = ops.cast(mask, "float32")
        scores = ops.reshape(ops.cast(scores, "float32"), ops.shape(mask))
        top = ops.max(ops.where(counts > 0, scores, -1e9), axis=1, keepdims=True)
        weights = ops.exp(ops.minimum(scores - top, 0.0)) * counts
        return weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-9)

    def compute_output_shape(self, scores_shape: Any, mask_shape: Any = (None, None)) -> Any:
        return tuple(mask_shape)
