"""A small residual CNN on each face, averaged over the faces of a clip."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.residual import conv_batch_norm, residual_block
from affectstream.modeling.encoders.video.face_clip import frame_pooling

# One row per block: channels at width 32, stride.
BLOCKS = ((32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
BASE_WIDTH = 32


def resnet_face_frame(
    input_shape: tuple[int, int, int], num_classes: int, width: int = 32, dropout: float = 0.4
) -> keras.Model:
    """Encoder of one face image.

    Brightness and contrast of each image are normalised first.

    Args:
      input_shape: (height, width, channels), float in [0, 1]; designed for 48 x 48.
      num_classes: outputs.
      width: channels of the first block; the stem has half of it, the last block four times.
      dropout: before the head.
    Returns:
      Model from `face` to {"logits": (batch, classes), "embedding": (batch, 4 x width)};
      693,719 parameters at (48, 48, 1), width 32 and 7 classes.
    Source: He et al. 2016 (blocks).
    """
    # === Layers ===
    standardise = layers.LayerNormalization(
        axis=(1, 2, 3), epsilon=1e-4, center=False, scale=False, name="contrast"
    )
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    face = keras.Input(input_shape, name="face")
    x = layers.ReLU()(conv_batch_norm(standardise(face), width // 2, 3, (1, 1)))
    for channels, stride in BLOCKS:
        x = residual_block(x, channels * width // BASE_WIDTH, (stride, stride))
    embedding = layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(face, {"logits": logits, "embedding": embedding}, name="resnet_face_frame")


def resnet_face(
    input_shape: tuple[int | None, int, int, int],
    num_classes: int,
    width: int = 32,
    dropout: float = 0.4,
    pooling: str = "mean",
    flip_tta: bool = True,
) -> keras.Model:
    """Encoder of a clip: `resnet_face_frame` on every frame, averaged over those with a face.

    Args:
      input_shape: (frames or None, height, width, channels), float in [0, 1].
      pooling: see `frame_pooling`.
      flip_tta: see `frame_pooling`.
    Returns:
      Model from [`features` (batch, frames, height, width, channels), `mask` (batch, frames)] to
      {"logits", "embedding"}, see `frame_pooling`.
    Raises:
      UserError: another `pooling`.
    """
    face_net = resnet_face_frame(input_shape[1:], num_classes, width, dropout)
    return frame_pooling(face_net, input_shape, pooling, "resnet_face", flip_tta)
