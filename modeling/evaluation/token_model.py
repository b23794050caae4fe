"""A text model without its tokeniser, for servers without TensorFlow Text."""

from __future__ import annotations

import keras

from affectstream.modeling.features.text.tokens import PAD_ID
from affectstream.modeling.layer_names import (
    FUSION,
    NETWORK,
    PIECES,
    TERMS,
    TOKENS,
    WORDS,
    stream_layer,
)
from affectstream.modeling.models.fused_model import fused_model

TOKEN_IDS = "token_ids"


def token_model(model: keras.Model, streams: tuple[str, ...]) -> keras.Model | None:
    """The same model with input `token_ids` (B, T) int32 in place of `text`, padded with 0.

    Args:
      model: of the text stream, or a fusion with it.
      streams: of `model`.
    Returns:
      None if the text features are a vector instead of tokens (TF-IDF).
    """
    text = model if streams == ("text",) else model.get_layer(stream_layer("text"))
    network = text.get_layer(NETWORK)
    if not {layer.name for layer in text.layers} >= {"tokens"}:
        return None
    ids = keras.Input((None,), dtype="int32", name=TOKEN_IDS)
    tokens = text.get_layer(TOKENS)(ids)
    outputs = network({"features": tokens, "mask": keras.ops.not_equal(tokens, PAD_ID)})
    text_model = keras.Model({TOKEN_IDS: ids}, outputs, name=stream_layer("text"))
    if streams == ("text",):
        return text_model
    parts = {stream: model.get_layer(stream_layer(stream)) for stream in streams}
    return fused_model({**parts, "text": text_model}, model.get_layer(FUSION))


def vocabulary_of(model: keras.Model, streams: tuple[str, ...]) -> list[str]:
    """Tokens in the order of their ids; for TF-IDF the terms in the order of their counts.

    TF-IDF counts unknown terms at 0. A bigram is two words with a space between.
    """
    text = model if streams == ("text",) else model.get_layer(stream_layer("text"))
    for layer in text.layers:
        if layer.name in (WORDS, TERMS):
            return list(layer.get_vocabulary())
        if layer.name == PIECES:
            return list(layer.vocabulary)
    return []
