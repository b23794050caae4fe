"""Residual blocks of small networks: two 3x3 convolutions, batch normalisation, ReLU."""

from __future__ import annotations

from typing import Any

from keras import layers

from affectstream.modeling.encoders.batch_norm import MOMENTUM

# Keras's default.
EPSILON = 1e-3


def conv_batch_norm(
    x: Any, channels: int, kernel: int, stride: tuple[int, int], epsilon: float = EPSILON
) -> Any:
    """A convolution and its batch normalisation, (batch, height, width, channels)."""
    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon)(x)


def residual_block(x: Any, channels: int, stride: tuple[int, int], epsilon: float = EPSILON) -> Any:
    """Two 3x3 convolutions and a shortcut, which is projected if the shape changes.

    Source: He et al. 2016.
    """
    shortcut = x
    if stride != (1, 1) or x.shape[-1] != channels:
        shortcut = conv_batch_norm(x, channels, 1, stride, epsilon)
    x = layers.ReLU()(conv_batch_norm(x, channels, 3, stride, epsilon))
    x = conv_batch_norm(x, channels, 3, (1, 1), epsilon)
    return layers.ReLU()(layers.Add()([x, shortcut]))
