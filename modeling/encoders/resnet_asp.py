"""A small residual CNN over a spectrogram with attentive statistics over time."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from errors import UserError
from modeling.encoders.batch_norm import MOMENTUM
from modeling.encoders.input_shapes import require_picture
from modeling.encoders.residual import normalised, residual_block

# One row a stage: channels at width 16, stride over bands and over frames. None works at the stem's
# resolution, where few channels on large maps would take half the time of training.
STAGES = ((24, (2, 2)), (40, (2, 2)), (64, (2, 1)), (96, (1, 1)))
POOLINGS = ("attentive", "mean")
BASE_WIDTH = 16
MIN_PX = 16
ATTENTION_DIM = 64


@keras.saving.register_keras_serializable(package="affectstream")
class AttentiveStatistics(keras.layers.Layer):
    """Mean and deviation over time, each channel weighing the frames in its own way.

    Call:
      values: (batch, frames, channels) float.
      scores: of the same shape; a softmax over the frames makes them weights.
    Returns:
      (batch, 2 x channels) float: means, then deviations.
    Source: Okabe et al. 2018, equations 5 and 6; a weight a channel as Desplanques et al. 2020.
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
) -> keras.Model:
    """Encoder of one spectrogram.

    Args:
      input_shape: (bands, frames, 1), float, standardised; 16 or more a side.
      num_classes: outputs.
      width: channels of the stem; the others grow with it.
      dropout: before the head.
      pooling: over time: "attentive" mean and deviation, or the plain "mean", of half the size.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, 12 x width)};
      257,591 parameters at (80, 301, 1), width 16 and 7 classes. With the plain mean 6 x width.
    Raises:
      UserError: features of another shape, or another `pooling`.
    Source: He et al. 2016 (blocks), Okabe et al. 2018 (pooling).
    """
    require_picture("resnet_asp", input_shape, MIN_PX)
    if pooling not in POOLINGS:
        raise UserError(f"pooling={pooling}: must be {' or '.join(POOLINGS)}")
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    x = layers.ReLU()(normalised(features, width, 5, (2, 2)))
    for channels, stride in STAGES:
        x = residual_block(x, channels * width // BASE_WIDTH, stride)
    frames = ops.mean(x, axis=1)
    pooled = ops.mean(frames, axis=1) if pooling == "mean" else _attended(frames)
    embedding = layers.BatchNormalization(momentum=MOMENTUM, name="embedding")(pooled)
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="resnet_asp")


def _attended(frames: Any) -> Any:
    """Attentive statistics of (batch, frames, channels)."""
    hidden = layers.Dense(ATTENTION_DIM, activation="tanh", name="attention")(frames)
    scores = layers.Dense(frames.shape[-1], name="scores")(hidden)
    return AttentiveStatistics(name="statistics")(frames, scores)
