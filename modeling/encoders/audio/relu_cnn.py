"""Network over a spectrogram: three ReLU convolutions, global max pooling, one dense layer."""

from __future__ import annotations

import keras
from keras import layers

# One row per stage: filters, kernel (mels, frames), max-pool after it, L2 of the kernel.
STAGES = (
    (64, (3, 5), (4, 4), 0.001),
    (128, (3, 5), (4, 4), 0.001),
    (128, (3, 5), None, 0.001),
)


def relu_cnn(
    input_shape: tuple[int, int, int],
    num_classes: int,
    embedding_dim: int = 128,
    dropout: float = 0.2,
    dense_l2: float = 0.01,
) -> keras.Model:
    """Encoder of one spectrogram.

    Args:
      input_shape: (mels, frames, 1), float, standardised.
      num_classes: outputs.
      embedding_dim: width of the dense layer.
      dropout: after each stage and the dense layer.
      dense_l2: weight penalty of the dense layer.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      387,335 parameters at (128, 282, 1) and 7 classes.
    Source: RAVDESS two-stream system, audio branch, docs/reproduced_systems.md; the pool
      sizes are chosen here.

    Example:
      >>> relu_cnn((128, 282, 1), 7).count_params()
      387335
    """
    # === Layers ===
    convolutions = [
        layers.Conv2D(
            filters, kernel, padding="same", kernel_regularizer=keras.regularizers.L2(penalty)
        )
        for filters, kernel, _, penalty in STAGES
    ]
    dense = layers.Dense(embedding_dim, kernel_regularizer=keras.regularizers.L2(dense_l2))
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = features
    for convolution, (_, _, pool, _) in zip(convolutions, STAGES, strict=True):
        x = layers.ReLU()(convolution(x))
        if pool is not None:
            x = layers.MaxPooling2D(pool)(x)
        x = layers.Dropout(dropout)(x)
    x = layers.GlobalMaxPooling2D()(x)
    embedding = layers.ReLU(name="embedding")(dense(x))
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="relu_cnn")
