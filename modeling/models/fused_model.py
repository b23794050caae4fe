"""Streams and their fusion as one model from raw inputs to logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from affectstream.modeling.fusions.missing_streams import zero_if_missing
from affectstream.modeling.input_spec import PRESENCE_INPUTS
from affectstream.modeling.layer_names import FUSED_MODEL, stream_layer


@keras.saving.register_keras_serializable(package="affectstream")
class StreamPresence(keras.layers.Layer):
    """1 for each row that has the stream: audio length > 0, a frame with a face, or a letter.

    Call:
      amount: `audio_length` (batch,) int, `video_mask` (batch, frames) bool, `text` (batch,) string
        or `token_ids` (batch, tokens) int.
    Returns:
      (batch,) float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"}, autocast=False)
        self._convert_input_args = False  # strings cannot be cast to float

    def call(self, amount: Any) -> Any:
        if keras.backend.standardize_dtype(amount.dtype) == "string":
            amount = _num_letters(amount)
        amount = ops.cast(amount, "int32")
        if len(amount.shape) == 2:
            amount = ops.sum(amount, axis=1)
        return ops.cast(amount > 0, "float32")

    def compute_output_shape(self, amount_shape: Any) -> Any:
        return (amount_shape[0],)


def _num_letters(text: Any) -> Any:
    """Number of letters in each text, stripped of surrounding white space; TensorFlow only."""
    import tensorflow as tf

    return tf.strings.length(tf.strings.strip(text))


def build_streams_model(streams: dict[str, keras.Model]) -> keras.Model:
    """One model from all raw inputs to `STREAM_logits`, `STREAM_embedding`, `STREAM_present`."""
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for stream, model in streams.items():
        model.name = stream_layer(stream)  # names must be unique, and `audio` is an input name
        model_inputs = {name: _like(model, name) for name in model.input}
        inputs |= model_inputs
        made = model(model_inputs)
        amount = next(model_inputs[name] for name in PRESENCE_INPUTS if name in model_inputs)
        present = StreamPresence(name=f"{stream}_present")(amount)
        named = {"logits": made["logits"], "embedding": made["embedding"], "present": present}
        outputs |= {f"{stream}_{kind}": tensor for kind, tensor in named.items()}
    return keras.Model(inputs, outputs, name="streams")


def fused_model(
    streams: dict[str, keras.Model], fusion: keras.Model, with_single_streams: bool = False
) -> keras.Model:
    """The fused model: raw inputs -> {"logits", "embedding", "STREAM_logits" ...}.

    `embedding` concatenates those of the streams, with zeros for missing ones.

    Args:
      with_single_streams: adds `STREAM_alone_logits` (B, classes): output of the fusion with only
        that stream present; undefined if the stream itself is missing.
    """
    parts = build_streams_model(streams)
    logits = fusion(parts.output)["logits"]
    embeddings = [
        zero_if_missing(parts.output[f"{s}_embedding"], parts.output[f"{s}_present"])
        for s in streams
    ]
    outputs = {
        "logits": logits,
        "embedding": keras.layers.Concatenate(name="embedding", dtype="float32")(embeddings),
        **{f"{s}_logits": parts.output[f"{s}_logits"] for s in streams},
    }
    for stream in streams if with_single_streams else ():
        outputs[f"{stream}_alone_logits"] = _alone(parts.output, fusion, stream, streams)
    return keras.Model(parts.input, outputs, name=FUSED_MODEL)


def _alone(
    outputs: dict[str, Any], fusion: keras.Model, stream: str, streams: Iterable[str]
) -> Any:
    """Logits of a fusion with only one stream present."""
    others = {
        f"{s}_present": ops.zeros_like(outputs[f"{s}_present"]) for s in streams if s != stream
    }
    return fusion({**outputs, **others})["logits"]


def _like(model: keras.Model, name: str) -> keras.KerasTensor:
    tensor = next(t for t in model.inputs if t.name == name)
    return keras.Input(tensor.shape[1:], name=name, dtype=tensor.dtype)
