"""1-D convolutional network over a sequence of feature vectors."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from affectstream.modeling.encoders.input_checks import require_sequence
from affectstream.modeling.encoders.temporal_pooling import MaskedMean, MergeTimeAxis

# One row per convolution over time: filters, kernel.
STAGES = ((64, 5), (128, 5), (256, 3))


def conv1d(
    input_shape: tuple[int | None, int],
    num_classes: int,
    embedding_dim: int = 128,
    dropout: float = 0.3,
) -> keras.Model:
    """Encoder of a sequence; masked frames are zero in every convolution.

    Each frame is normalised by itself (layer normalisation), so that padding has no effect.

    Args:
      input_shape: (frames or None, dim), float, standardised.
      num_classes: outputs.
      embedding_dim: width of the dense layer.
      dropout: after each convolution and the dense layer.
    Returns:
      Model from [`features` (batch, frames, dim), `mask` (batch, frames) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}; 190,599 parameters at
      dim 52 and 7 classes.
    Raises:
      UserError: features that are not a sequence.
    Source: TESS and text system, feature-level fusion, docs/reproduced_systems.md; widths and
      kernels are chosen here.
    """
    require_sequence("conv1d", input_shape)

    # === Layers ===
    convolutions = [
        layers.Conv1D(filters, kernel, padding="same", use_bias=False) for filters, kernel in STAGES
    ]
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    x: Any = features
    for convolution in convolutions:
        counted = ops.where(ops.expand_dims(mask, -1), x, ops.zeros_like(x))
        x = layers.ReLU()(layers.LayerNormalization()(convolution(counted)))
        x = layers.SpatialDropout1D(dropout)(x)
    pooled = MaskedMean(name="mean_over_time")(MergeTimeAxis(name="fold_time")(x), mask)
    embedding = layers.ReLU(name="embedding")(dense(pooled))
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model([features, mask], {"logits": logits, "embedding": embedding}, name="conv1d")
