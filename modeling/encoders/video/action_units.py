"""Action units of a clip: their mean, deviation and maximum over time, and two dense layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from affectstream.modeling.encoders.input_checks import require_sequence

# Keeps the square root of the variance differentiable for a clip with one frame.
MIN_VARIANCE = 1e-6


@keras.saving.register_keras_serializable(package="affectstream")
class MaskedStatistics(layers.Layer):
    """Mean, deviation and maximum over the valid frames.

    Call:
      values: (batch, frames, dim) float.
      mask: (batch, frames) bool; a row of zeros gives zeros.
    Returns:
      (batch, 3 dim) float; the deviation of a single frame is 0.
    """

    def call(self, values: Any, mask: Any) -> Any:
        weights = ops.expand_dims(ops.cast(mask, values.dtype), 2)
        count = ops.maximum(ops.sum(weights, axis=1), 1.0)
        mean = ops.sum(values * weights, axis=1) / count
        off = (values - ops.expand_dims(mean, 1)) * weights
        variance = ops.sum(off * off, axis=1) / count
        deviation = ops.sqrt(variance + MIN_VARIANCE) - MIN_VARIANCE**0.5
        least = ops.expand_dims(ops.min(values, axis=1), 1)
        highest = ops.max(ops.where(weights > 0, values, least), axis=1)
        has_frames = ops.cast(ops.any(mask, axis=1, keepdims=True), values.dtype)
        return ops.concatenate([mean, deviation, highest * has_frames], axis=1)

    def compute_output_shape(self, values_shape: Any, mask_shape: Any = None) -> Any:
        return (values_shape[0], 3 * values_shape[-1])


def action_units(
    input_shape: tuple[int | None, int],
    num_classes: int,
    width: int = 128,
    embedding_dim: int = 64,
    dropout: float = 0.4,
) -> keras.Model:
    """Encoder of a sequence of action units of any length.

    Args:
      input_shape: (frames or None, units), float, each unit standardised.
      num_classes: outputs.
      width, embedding_dim: units of the two dense layers.
      dropout: after each of them.
    Returns:
      Model from [`features` (batch, frames, units), `mask` (batch, frames) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}; 23,112 parameters at 35
      units and 8 classes.
    Raises:
      UserError: features of another shape.
    """
    require_sequence("action_units", input_shape)
    # === Layers ===
    statistics = MaskedStatistics(name="statistics")
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    x = statistics(features, mask)
    for size in (width, embedding_dim):
        x = layers.Dense(size)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ELU()(x)
        x = layers.Dropout(dropout)(x)
    return keras.Model([features, mask], {"logits": head(x), "embedding": x}, name="action_units")
