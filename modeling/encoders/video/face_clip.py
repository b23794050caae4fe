"""Applies a face network to all faces of a clip and averages probabilities over time."""

from __future__ import annotations

import keras
from keras import layers, ops

from affectstream.core.errors import UserError
from affectstream.modeling.encoders.temporal_pooling import (
    AttentionWeights,
    FlipTTA,
    MaskedMean,
    MergeTimeAxis,
)

MIN_PROBABILITY = 1e-7
POOLINGS = ("mean", "attention")


def frame_pooling(
    face_net: keras.Model,
    input_shape: tuple[int | None, int, int, int],
    pooling: str,
    name: str,
    flip_tta: bool = False,
) -> keras.Model:
    """The encoder of a clip.

    Args:
      face_net: from one face to {"logits": (batch, classes), "embedding": (batch, dim)}.
      input_shape: (frames or None, height, width, channels), float in [0, 1].
      pooling: "mean" or "attention": a weight per frame, learned from its embedding.
      name: of the encoder.
      flip_tta: at inference, each face is also used as its mirror image.
    Returns:
      Model from [`features` (batch, frames, height, width, channels), `mask` (batch, frames)] to
      {"logits", "embedding"}; logits are the logarithm of the mean probability.
    Raises:
      UserError: another `pooling`.
    """
    if pooling not in POOLINGS:
        raise UserError(f"pooling={pooling}: must be {' or '.join(POOLINGS)}")
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    frames, weights = features, mask
    if flip_tta:
        frames, weights = FlipTTA(name="with_mirrored")(features, mask)
    outputs = face_net(MergeTimeAxis(name="fold_time")(frames))
    probabilities = ops.softmax(ops.cast(outputs["logits"], "float32"))
    if pooling == "attention":
        scores = layers.Dense(1, name="attention")(outputs["embedding"])
        weights = AttentionWeights(name="attention_weights")(scores, weights)
    mean = MaskedMean(name="mean_probability", dtype="float32")(probabilities, weights)
    logits = ops.log(ops.maximum(mean, MIN_PROBABILITY))
    embedding = MaskedMean(name="mean_embedding")(outputs["embedding"], weights)
    return keras.Model([features, mask], {"logits": logits, "embedding": embedding}, name=name)
