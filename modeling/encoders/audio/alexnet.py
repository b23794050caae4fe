"""AlexNet on spectrogram images: five convolutions, two dense layers."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.batch_norm import MOMENTUM
from affectstream.modeling.encoders.input_checks import require_image

# One row per convolution: filters, kernel, stride, whether a 3x3 max-pool of stride 2 follows.
STAGES = (
    (96, 11, 4, True),
    (256, 5, 1, True),
    (384, 3, 1, False),
    (384, 3, 1, False),
    (256, 3, 1, True),
)
MIN_PX = 57


def alexnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    embedding_dim: int = 256,
    dense_width: int = 256,
    dropout: float = 0.5,
) -> keras.Model:
    """Encoder of one spectrogram.

    It differs from the paper in three ways. Batch normalisation replaces local response
    normalisation. Every convolution sees all maps (one tower). The width of the dense layers is a
    parameter; in the paper it is 4,096, nine tenths of all weights.

    Args:
      input_shape: (bands, frames, 1 or 3), float, standardised; both sides at least 57.
      num_classes: outputs.
      embedding_dim: width of the second dense layer.
      dense_width: width of the first dense layer.
      dropout: before both dense layers, as in the paper.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      5,368,807 parameters at (128, 282, 1) and 7 classes.
    Raises:
      UserError: features of another shape.
    Source: Krizhevsky, Sutskever & Hinton 2012; BERT-ResNet34 system,
      docs/reproduced_systems.md.
    """
    require_image("alexnet", input_shape, MIN_PX)

    # === Layers ===
    convolutions = [
        layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)
        for filters, kernel, stride, _ in STAGES
    ]
    wide = layers.Dense(dense_width)
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = features
    for convolution, (_, _, _, has_pool) in zip(convolutions, STAGES, strict=True):
        x = layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(convolution(x)))
        if has_pool:
            x = layers.MaxPooling2D(3, 2)(x)
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    x = layers.Dropout(dropout)(layers.ReLU()(wide(x)))
    embedding = layers.ReLU(name="embedding")(dense(x))
    logits = head(embedding)
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="alexnet")
