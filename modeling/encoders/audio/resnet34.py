"""ResNet34 on spectrogram images: basic blocks 3-4-6-3."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.input_checks import require_image
from affectstream.modeling.encoders.residual import conv_batch_norm, residual_block

# One row per stage: filters, blocks, stride of its first block.
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
POOLED_DIM = STAGES[-1][0]
MIN_PX = 32
EPSILON = 1e-5


def resnet34(
    input_shape: tuple[int, int, int],
    num_classes: int,
    embedding_dim: int = POOLED_DIM,
    dropout: float = 0.2,
) -> keras.Model:
    """Encoder of one spectrogram.

    Args:
      input_shape: (bands, frames, 1 or 3), float, standardised; both sides at least 32.
      num_classes: outputs.
      embedding_dim: 512 uses the average over the last maps directly; any other width adds a dense
        layer.
      dropout: before the head.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      21,299,015 parameters at (128, 282, 1) and 7 classes; 21,301,696 without head at 3 channels.
    Raises:
      UserError: features of another shape.
    Source: He et al. 2016, table 1; BERT-ResNet34 system, docs/reproduced_systems.md.
    """
    require_image("resnet34", input_shape, MIN_PX)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = conv_batch_norm(features, STAGES[0][0], 7, (2, 2), EPSILON)
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.ReLU()(x))
    for filters, num_blocks, stride in STAGES:
        for block in range(num_blocks):
            step = stride if block == 0 else 1
            x = residual_block(x, filters, (step, step), EPSILON)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(x)
    embedding = pooled
    if embedding_dim != POOLED_DIM:
        embedding = layers.Dense(embedding_dim, activation="relu", name="embedding")(pooled)
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="resnet34")
