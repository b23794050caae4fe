"""ConvLSTM over the faces of a clip, for motion."""

from __future__ import annotations

import keras
from keras import layers, ops

from affectstream.modeling.encoders.batch_norm import MOMENTUM
from affectstream.modeling.encoders.temporal_pooling import MergeTimeAxis, SplitTimeAxis

# One row per stage of the convolutional stem: filters, kernel, stride.
STEM = ((16, 5, 2), (32, 3, 2))


def convlstm(
    input_shape: tuple[int | None, int, int, int],
    num_classes: int,
    embedding_dim: int = 128,
    num_filters: int = 32,
    num_filters_top: int = 48,
    dropout: float = 0.3,
    dense_dropout: float = 0.5,
) -> keras.Model:
    """Encoder of a clip: convolutions on each face, two ConvLSTM2D over time, dense head.

    A frame without a face is skipped: it leaves the state unchanged, and the output is the state
    after the last face. At 112 pixels the stem reduces a face to 28 x 28 before the recurrence,
    which keeps a clip of 16 frames below a second on two cores.

    Args:
      input_shape: (frames or None, height, width, channels), float in [0, 1].
      num_classes: outputs.
      embedding_dim: width of the dense layer.
      num_filters, num_filters_top: of the two ConvLSTM layers.
      dropout: after each ConvLSTM.
      dense_dropout: after the dense layer.
    Returns:
      Model from [`features` (batch, frames, height, width, channels), `mask` (batch, frames)] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}.
    Source: Shi et al. 2015 (ConvLSTM); ConvLSTM transfer system, video branch, whose sizes are not
      published, docs/reproduced_systems.md.
    """
    # === Layers ===
    lower = layers.ConvLSTM2D(num_filters, 3, padding="same", return_sequences=True, name="lower")
    upper = layers.ConvLSTM2D(num_filters_top, 3, padding="same", name="upper")
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    x = MergeTimeAxis(name="fold_time")(features)
    for filters, kernel, stride in STEM:
        x = layers.Conv2D(filters, kernel, strides=stride, padding="same")(x)
        x = layers.ELU()(layers.BatchNormalization(momentum=MOMENTUM)(x))
    x = SplitTimeAxis(name="unfold_time")(x, mask)
    # Same rank as an image: Keras broadcasts a mask on TensorFlow, but not on JAX.
    frame_mask = ops.expand_dims(mask, (2, 3, 4))
    x = layers.Dropout(dropout)(lower(x, mask=frame_mask))
    # Frame by frame, because LiteRT has no pooling over three axes.
    x = ops.reshape(x, (-1, *x.shape[2:]))  # MergeTimeAxis would warn about the mask
    x = SplitTimeAxis(name="unfold_lower")(ops.max_pool(x, (2, 2), strides=(2, 2)), mask)
    x = layers.Dropout(dropout)(upper(x, mask=frame_mask))
    x = layers.BatchNormalization(momentum=MOMENTUM)(dense(layers.GlobalAveragePooling2D()(x)))
    embedding = layers.ELU(name="embedding")(x)
    logits = head(layers.Dropout(dense_dropout)(embedding))
    return keras.Model(
        [features, mask], {"logits": logits, "embedding": embedding}, name="convlstm"
    )
