"""Face network: four ELU convolutions on each frame; the clip is the mean over its faces."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.video.face_clip import frame_pooling

# One row per stage: filters, kernel, dropout after its pooling.
STAGES = ((32, 5, 0.0), (64, 5, 0.4), (128, 3, 0.4), (256, 3, 0.5))


def elu_cnn_face(
    input_shape: tuple[int, int, int],
    num_classes: int,
    embedding_dim: int = 128,
    dense_dropout: float = 0.6,
) -> keras.Model:
    """Encoder of one face image.

    Args:
      input_shape: (height, width, channels), float in [0, 1].
      num_classes: outputs.
      embedding_dim: width of the dense layer.
      dense_dropout: after the dense layer.
    Returns:
      Model from `face` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      2,030,215 parameters at (112, 112, 1) and 7 classes.
    Source: RAVDESS two-stream system, video branch, docs/reproduced_systems.md.
    """
    # === Layers ===
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    face = keras.Input(input_shape, name="face")
    x = face
    for filters, kernel, dropout in STAGES:
        x = layers.Conv2D(filters, kernel, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.ELU()(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(dropout)(x)
    x = layers.BatchNormalization()(dense(layers.Flatten()(x)))
    embedding = layers.ELU(name="embedding")(x)
    logits = head(layers.Dropout(dense_dropout)(embedding))
    return keras.Model(face, {"logits": logits, "embedding": embedding}, name="elu_cnn_face")


def elu_cnn(
    input_shape: tuple[int | None, int, int, int],
    num_classes: int,
    embedding_dim: int = 128,
    dense_dropout: float = 0.6,
    pooling: str = "mean",
) -> keras.Model:
    """Encoder of a clip: `elu_cnn_face` on every frame, averaged over the frames with a face.

    Args:
      input_shape: (frames or None, height, width, channels), float in [0, 1].
      pooling: see `frame_pooling`.
    Returns:
      Model from [`features` (batch, frames, height, width, channels), `mask` (batch, frames)] to
      {"logits", "embedding"}, see `frame_pooling`.
    Raises:
      UserError: another `pooling`.
    """
    face_net = elu_cnn_face(input_shape[1:], num_classes, embedding_dim, dense_dropout)
    return frame_pooling(face_net, input_shape, pooling, "elu_cnn")
