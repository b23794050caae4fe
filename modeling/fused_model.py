"""Streams and their fusion as one model from raw inputs to logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from modeling.fusions.presence import where_present
from modeling.input_spec import INPUT_NAMES


@keras.saving.register_keras_serializable(package="affectstream")
class Present(keras.layers.Layer):
    """1 for each row whose stream is there: a length above 0, or any frame with a face.

    Call:
      amount: `audio_length` (batch,) int or `video_mask` (batch, frames) bool.
    Returns:
      (batch,) float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"}, autocast=False)

    def call(self, amount: Any) -> Any:
        amount = ops.cast(amount, "int32")
        if len(amount.shape) == 2:
            amount = ops.sum(amount, axis=1)
        return ops.cast(amount > 0, "float32")

    def compute_output_shape(self, amount_shape: Any) -> Any:
        return (amount_shape[0],)


def outputs_of_streams(streams: dict[str, keras.Model]) -> keras.Model:
    """One model from all raw inputs to `STREAM_logits`, `STREAM_embedding`, `STREAM_present`."""
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for stream, model in streams.items():
        model.name = f"{stream}_stream"  # names must be unique, and `audio` is an input
        own = {name: _like(model, name) for name in INPUT_NAMES[stream]}
        inputs |= own
        made = model(own)
        present = Present(name=f"{stream}_present")(own[INPUT_NAMES[stream][1]])
        named = {"logits": made["logits"], "embedding": made["embedding"], "present": present}
        outputs |= {f"{stream}_{kind}": tensor for kind, tensor in named.items()}
    return keras.Model(inputs, outputs, name="streams")


def fused_model(streams: dict[str, keras.Model], fusion: keras.Model) -> keras.Model:
    """The whole: raw inputs -> {"logits", "embedding", "STREAM_logits" ...}.

    `embedding` holds those of the streams side by side, zeros where one is missing.
    """
    parts = outputs_of_streams(streams)
    logits = fusion(parts.output)["logits"]
    embeddings = [
        where_present(parts.output[f"{s}_embedding"], parts.output[f"{s}_present"]) for s in streams
    ]
    outputs = {
        "logits": logits,
        "embedding": keras.layers.Concatenate(name="embedding", dtype="float32")(embeddings),
        **{f"{s}_logits": parts.output[f"{s}_logits"] for s in streams},
    }
    return keras.Model(parts.input, outputs, name="fused")


def _like(model: keras.Model, name: str) -> keras.KerasTensor:
    tensor = next(t for t in model.inputs if t.name == name)
    return keras.Input(tensor.shape[1:], name=name, dtype=tensor.dtype)
