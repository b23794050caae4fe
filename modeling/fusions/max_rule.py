"""Probability-level fusion: the most confident stream decides."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing


@keras.saving.register_keras_serializable(package="affectstream")
class MaxConfidence(keras.layers.Layer):
    """Log softmax of the stream with the highest probability for any class.

    The predicted class has the highest probability over all streams and classes. The other
    probabilities come from the same stream, so that they sum to 1. The first stream wins a tie; all
    classes are equal if no stream is present.

    Call:
      logits: list of (batch, classes), one per stream.
      present: list of (batch,) 0 or 1.
    Returns:
      (batch, classes) float32.
    """

    def call(self, logits: list[Any], present: list[Any]) -> Any:
        is_present = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)
        kept = [
            zero_if_missing(ops.cast(x, "float32"), p) for x, p in zip(logits, present, strict=True)
        ]
        scores = ops.log_softmax(ops.stack(kept, axis=1), axis=-1)
        # The highest log-probability of a present stream is between minus the log of classes and 0.
        tops = ops.where(is_present > 0, ops.max(scores, axis=-1), -1e9)
        # Not argmax: its treatment of the sign of zero needs operations that LiteRT lacks.
        first = ops.top_k(tops, k=1)[1][:, 0]
        chosen = ops.one_hot(first, len(logits), dtype="float32")
        return ops.sum(scores * chosen[:, :, None], axis=1)

    def compute_output_shape(self, logits_shape: Any, present_shape: Any = None) -> Any:
        return logits_shape[0]


def max_rule(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """The class with the highest probability over the present streams; has no trained weights.

    Returns:
      a model whose logits are the log softmax of the most confident stream, see `MaxConfidence`.
    Source: TESS and text system, probability-level fusion, docs/reproduced_systems.md;
      the maximum rule of Kittler et al. 1998, On Combining Classifiers.
    """
    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    logits = MaxConfidence(name="surest", dtype="float32")(
        [inputs[s]["logits"] for s in streams], [inputs[s]["present"] for s in streams]
    )
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
