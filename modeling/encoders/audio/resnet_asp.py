"""A small residual CNN over a spectrogram with attentive statistics over time."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from affectstream.core.errors import UserError
from affectstream.modeling.encoders.batch_norm import MOMENTUM
from affectstream.modeling.encoders.input_checks import require_image
from affectstream.modeling.encoders.residual import conv_batch_norm, residual_block

# Strides of each stage over bands and frames. No stage works at the stem's resolution, where few
# channels on large maps would take half of the training time.
STRIDES = ((2, 2), (2, 2), (2, 1), (1, 1))
POOLINGS = ("attentive", "mean")
BANDS = ("mean", "joined")
JOINED_DIM = 128
BASE_WIDTH = 16
MIN_PX = 16
ATTENTION_DIM = 64


@keras.saving.register_keras_serializable(package="affectstream")
class AttentiveStatistics(keras.layers.Layer):
    """Mean and deviation over time, with separate frame weights for each channel.

    Call:
      values: (batch, frames, channels) float.
      scores: of the same shape; a softmax over the frames turns them into weights.
    Returns:
      (batch, 2 x channels) float: means, then deviations.
    Source: Okabe et al. 2018, equations 5 and 6; a weight per channel as Desplanques et al. 2020.
    """

    def call(self, values: Any, scores: Any) -> Any:
        weights = ops.softmax(scores, axis=1)
        mean = ops.sum(weights * values, axis=1)
        power = ops.sum(weights * ops.square(values), axis=1)
        deviation = ops.sqrt(ops.maximum(power - ops.square(mean), 1e-5))
        return ops.concatenate([mean, deviation], axis=1)

    def compute_output_shape(self, values_shape: Any, scores_shape: Any = None) -> Any:
        return (values_shape[0], 2 * values_shape[-1])


def resnet_asp(
    input_shape: tuple[int, int, int],
    num_classes: int,
    width: int = BASE_WIDTH,
    dropout: float = 0.3,
    pooling: str = "attentive",
    channels: str = "24,40,64,96",
    bands: str = "mean",
) -> keras.Model:
    """Encoder of one spectrogram.

    Args:
      input_shape: (bands, frames, 1), float, standardised; both sides at least 16.
      num_classes: outputs.
      width: channels of the stem; the other channels scale with it.
      dropout: before the head.
      pooling: over time: "attentive" mean and deviation, or the plain "mean" of half the size.
      channels: of the four stages at width 16. With AVX-512, multiples of 16 cost no more than the
        next lower numbers.
      bands: combined before pooling over time by their "mean", which discards frequency, or
        "joined" by a dense layer of 8 x width as in x-vector networks.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, D)}; D is twice the
      pooled width, or equal to it with the plain mean. 257,591 parameters and D = 192 at (80, 301,
      1), width 16 and 7 classes.
    Raises:
      UserError: features of another shape, or another `pooling`, `channels` or `bands`.
    Source: He et al. 2016 (blocks), Okabe et al. 2018 (pooling).
    """
    require_image("resnet_asp", input_shape, MIN_PX)
    for key, value, known in (("pooling", pooling, POOLINGS), ("bands", bands, BANDS)):
        if value not in known:
            raise UserError(f"{key}={value}: must be {' or '.join(known)}")
    of_stages = _numbers(channels, width)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = layers.ReLU()(conv_batch_norm(features, width, 5, (2, 2)))
    for count, stride in zip(of_stages, STRIDES, strict=True):
        x = residual_block(x, count, stride)
    frames = (
        ops.mean(x, axis=1) if bands == "mean" else _joined(x, JOINED_DIM * width // BASE_WIDTH)
    )
    pooled = ops.mean(frames, axis=1) if pooling == "mean" else _attended(frames)
    embedding = layers.BatchNormalization(momentum=MOMENTUM, name="embedding")(pooled)
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="resnet_asp")


def _numbers(channels: str, width: int) -> tuple[int, ...]:
    """The channels of the stages at `width`, from e.g. "24,40,64,96" at width 16."""
    words = channels.split(",")
    counts = [int(word) * width // BASE_WIDTH if word.isdecimal() else 0 for word in words]
    if len(counts) != len(STRIDES) or min(counts) < 1:
        raise UserError(
            f"channels={channels}: must be {len(STRIDES)} numbers, as 24,40,64,96, that leave a"
            f" channel or more at width={width}"
        )
    return tuple(counts)


def _joined(x: Any, dim: int) -> Any:
    """(batch, bands, frames, channels) -> (batch, frames, dim)."""
    _, bands, frames, channels = x.shape
    x = layers.Reshape((frames, bands * channels))(layers.Permute((2, 1, 3))(x))
    x = layers.Dense(dim, use_bias=False, name="bands")(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x))


def _attended(frames: Any) -> Any:
    """Attentive statistics of (batch, frames, channels)."""
    hidden = layers.Dense(ATTENTION_DIM, activation="tanh", name="attention")(frames)
    scores = layers.Dense(frames.shape[-1], name="scores")(hidden)
    return AttentiveStatistics(name="statistics")(frames, scores)
