"""Probability-level fusion: the stream that is surest of its class answers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing


@keras.saving.register_keras_serializable(package="affectstream")
class MaxConfidence(keras.layers.Layer):
    """Log softmax of the stream whose highest probability is the highest of all.

    The class so found is the one with the highest probability over all streams and classes; the
    other probabilities are those of the same stream, so that they sum to 1. The first stream wins
    a tie; all classes are equal where no stream is there.

    Call:
      logits: list of (batch, classes), one a stream.
      present: list of (batch,) 0 or 1.
    Returns:
      (batch, classes) float32.
    """

    def call(self, logits: list[Any], present: list[Any]) -> Any:
        there = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)
        kept = [
            zero_if_missing(ops.cast(x, "float32"), p) for x, p in zip(logits, present, strict=True)
        ]
        scores = ops.log_softmax(ops.stack(kept, axis=1), axis=-1)
        # The top of a stream that is there is 0 at most, and at least minus the log of classes.
        tops = ops.where(there > 0, ops.max(scores, axis=-1), -1e9)
        # Not argmax, whose care for the sign of zero takes operations that LiteRT lacks.
        first = ops.top_k(tops, k=1)[1][:, 0]
        chosen = ops.one_hot(first, len(logits), dtype="float32")
        return ops.sum(scores * chosen[:, :, None], axis=1)

    def compute_output_shape(self, logits_shape: Any, present_shape: Any = None) -> Any:
        return logits_shape[0]


def max_rule(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """The class with the highest probability over the streams that are there; learns nothing.

    Returns:
      a model whose logits are the log softmax of the surest stream, see `MaxConfidence`.
    Source: TESS and text system, probability-level fusion, docs/reproduced_systems.md;
      the maximum rule of Kittler et al. 1998, On Combining Classifiers.
    """
    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    logits = MaxConfidence(name="surest", dtype="float32")(
        [inputs[s]["logits"] for s in streams], [inputs[s]["present"] for s in streams]
    )
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
