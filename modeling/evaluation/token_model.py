"""A model of words without its tokeniser, for servers without TensorFlow Text."""

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
    """The same model with `token_ids` (B, T) int32 in place of `text`, 0 behind the last token.

    Args:
      model: of a stream of words, or a fusion with one.
      streams: of `model`.
    Returns:
      None where the words are no tokens but one vector (TF-IDF).
    """
    text = model if streams == ("text",) else model.get_layer(stream_layer("text"))
    network = text.get_layer(NETWORK)
    if not {layer.name for layer in text.layers} >= {"tokens"}:
        return None
    ids = keras.Input((None,), dtype="int32", name=TOKEN_IDS)
    tokens = text.get_layer(TOKENS)(ids)
    made = network({"features": tokens, "mask": keras.ops.not_equal(tokens, PAD_ID)})
    of_tokens = keras.Model({TOKEN_IDS: ids}, made, name=stream_layer("text"))
    if streams == ("text",):
        return of_tokens
    parts = {stream: model.get_layer(stream_layer(stream)) for stream in streams}
    return fused_model({**parts, "text": of_tokens}, model.get_layer(FUSION))


def vocabulary_of(model: keras.Model, streams: tuple[str, ...]) -> list[str]:
    """Token of each number; the place in the list is the number. Of TF-IDF the term of each count.

    TF-IDF counts unknown terms at 0; its pairs of words are two words with a space between.
    """
    text = model if streams == ("text",) else model.get_layer(stream_layer("text"))
    for layer in text.layers:
        if layer.name in (WORDS, TERMS):
            return list(layer.get_vocabulary())
        if layer.name == PIECES:
            return list(layer.vocabulary)
    return []
