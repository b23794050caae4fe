"""Sum fusion: the softmaxes of the streams are added."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing

MIN_PROBABILITY = 1e-7


@keras.saving.register_keras_serializable(package="affectstream")
class SoftmaxSum(keras.layers.Layer):
    """Logarithm of the mean softmax over the present streams; all classes equal if none is present.

    Call:
      logits: list of (batch, classes), one per stream.
      present: list of (batch,) 0 or 1.
    Returns:
      (batch, classes) float32.
    """

    def call(self, logits: list[Any], present: list[Any]) -> Any:
        is_present = ops.cast(ops.stack(present, axis=1), "float32")[:, :, None]
        kept = [zero_if_missing(x, p) for x, p in zip(logits, present, strict=True)]
        softmaxes = ops.softmax(ops.cast(ops.stack(kept, axis=1), "float32"), axis=-1)
        mean = ops.sum(softmaxes * is_present, axis=1) / ops.maximum(
            ops.sum(is_present, axis=1), 1.0
        )
        return ops.log(ops.maximum(mean, MIN_PROBABILITY))

    def compute_output_shape(self, logits_shape: Any, present_shape: Any = None) -> Any:
        return logits_shape[0]


def softmax_sum(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """Sum of softmaxes; has no trained weights.

    Source: RAVDESS two-stream system, docs/reproduced_systems.md.
    """
    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    logits = SoftmaxSum(name="sum", dtype="float32")(
        [inputs[s]["logits"] for s in streams], [inputs[s]["present"] for s in streams]
    )
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
