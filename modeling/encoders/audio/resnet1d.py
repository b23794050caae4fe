"""Residual 1-D network over one feature vector per clip."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from affectstream.modeling.encoders.batch_norm import MOMENTUM
from affectstream.modeling.encoders.input_checks import require_vector

# One row per stage: filters, stride of its first block; two blocks each.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2), (1024, 2))
BLOCKS_PER_STAGE = 2
POOLED_DIM = STAGES[-1][0]
MIN_DIM = 8


def resnet1d(
    input_shape: tuple[int],
    num_classes: int,
    embedding_dim: int = POOLED_DIM,
    dropout: float = 0.2,
) -> keras.Model:
    """Encoder of one vector, treated as a sequence of scalars.

    Args:
      input_shape: (dim,), float, standardised.
      num_classes: outputs.
      embedding_dim: 1024 uses the average over the sequence directly; any other width adds a dense
        layer.
      dropout: before the head.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      15,415,495 parameters at 7 classes, for any length.
    Raises:
      UserError: features that are not a vector.
    Source: IEMOCAP fused-features system, docs/reproduced_systems.md; the kernels of its
      blocks (3) and the stride of its stages (2) are chosen here.
    """
    require_vector("resnet1d", input_shape, MIN_DIM)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = layers.Reshape((*input_shape, 1))(features)
    x = layers.ReLU()(_normalised(x, STAGES[0][0], 7, 2))
    for filters, stride in STAGES:
        for block in range(BLOCKS_PER_STAGE):
            x = _block(x, filters, stride if block == 0 else 1)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(x)
    embedding = pooled
    if embedding_dim != POOLED_DIM:
        embedding = layers.Dense(embedding_dim, activation="relu", name="embedding")(pooled)
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="resnet1d")


def _normalised(x: Any, filters: int, kernel: int, stride: int) -> Any:
    x = layers.Conv1D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization(momentum=MOMENTUM)(x)


def _block(x: Any, filters: int, stride: int) -> Any:
    """Two convolutions and a shortcut, which is projected if the shape changes."""
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _normalised(x, filters, 1, stride)
    x = layers.ReLU()(_normalised(x, filters, 3, stride))
    x = _normalised(x, filters, 3, 1)
    return layers.ReLU()(layers.Add()([x, shortcut]))
