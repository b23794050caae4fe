"""Attention between streams: tokens of each stream attend to the tokens of all present streams."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from affectstream.core.errors import UserError
from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing


def cross_attention(
    streams: tuple[str, ...],
    num_classes: int,
    embedding_dims: dict[str, int],
    num_tokens: int = 4,
    token_dim: int = 48,
    num_heads: int = 4,
    num_blocks: int = 1,
    dropout: float = 0.3,
) -> keras.Model:
    """Transformer blocks over the tokens of all streams; tokens of missing streams are masked keys.

    One dense layer per stream turns an embedding into `num_tokens` tokens; its bias identifies the
    stream. Each token attends to all tokens of the present streams. The mean of those tokens is the
    input of the head.

    Tsai et al. use one block for each ordered pair of streams, over sequences. Here a stream is one
    vector, and any stream may be missing. One joint block with a key mask covers the same attention
    between streams, grows linearly with the number of streams, and always has keys.

    Args:
      num_tokens: tokens of each stream.
      token_dim: width of a token, a multiple of `num_heads`.
      dropout: on the tokens, in each block and before the head.
    Raises:
      UserError: `token_dim` is not a multiple of `num_heads`.
    Source: Tsai et al. 2019, Multimodal Transformer for Unaligned Multimodal Language Sequences
      (attention between streams); Vaswani et al. 2017 (the block), with pre-normalisation (Xiong et
      al. 2020).
    """
    if token_dim % num_heads:
        raise UserError(f"token_dim={token_dim}: must be a multiple of num_heads={num_heads}")

    # === Layers ===
    norms = {stream: layers.LayerNormalization(name=f"{stream}_norm") for stream in streams}
    splits = {s: layers.Dense(num_tokens * token_dim, name=f"{s}_tokens") for s in streams}
    apart = layers.Reshape((num_tokens, token_dim), name="apart")
    last_norm = layers.LayerNormalization(name="last_norm")
    head = layers.Dense(num_classes, name="fused_logits", dtype="float32")

    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    tokens, flags = [], []
    for stream in streams:
        present = inputs[stream]["present"]
        kept = norms[stream](zero_if_missing(inputs[stream]["embedding"], present))
        tokens.append(apart(splits[stream](kept)))
        flags += [ops.expand_dims(present, 1)] * num_tokens
    x = layers.Dropout(dropout, name="token_dropout")(layers.Concatenate(axis=1)(tokens))
    is_present = ops.concatenate(flags, axis=1)
    keys = ops.expand_dims(is_present > 0, 1)
    for number in range(num_blocks):
        x = _block(x, keys, f"block{number + 1}", num_heads, token_dim, dropout)
    x = ops.cast(last_norm(x), "float32") * ops.expand_dims(is_present, 2)
    mean = ops.sum(x, axis=1) / ops.maximum(ops.sum(is_present, axis=1, keepdims=True), 1.0)
    logits = head(layers.Dropout(dropout, name="dropout")(mean))
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")


def _block(x: Any, keys: Any, name: str, num_heads: int, token_dim: int, dropout: float) -> Any:
    """Self-attention and two dense layers, each with a residual connection.

    Args:
      x: (batch, tokens, token_dim).
      keys: (batch, 1, tokens) bool, tokens that may be attended to.
    """
    look = layers.MultiHeadAttention(
        num_heads, token_dim // num_heads, dropout=dropout, name=f"{name}_attention"
    )
    normalised = layers.LayerNormalization(name=f"{name}_attention_norm")(x)
    attended = look(normalised, normalised, attention_mask=keys)
    x = x + layers.Dropout(dropout, name=f"{name}_attention_dropout")(attended)
    y = layers.LayerNormalization(name=f"{name}_dense_norm")(x)
    y = layers.Dense(2 * token_dim, activation="gelu", name=f"{name}_wide")(y)
    y = layers.Dense(token_dim, name=f"{name}_narrow")(y)
    return x + layers.Dropout(dropout, name=f"{name}_dense_dropout")(y)
