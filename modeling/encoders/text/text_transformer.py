"""A small transformer over the tokens of a text."""

from __future__ import annotations

import keras
import keras_hub
from keras import layers

from affectstream.modeling.encoders.input_checks import require_tokens
from affectstream.modeling.encoders.temporal_pooling import MaskedMean

MAX_POSITIONS = 512


def text_transformer(
    input_shape: tuple[int | None],
    num_classes: int,
    vocabulary_size: int,
    embedding_dim: int = 128,
    token_dim: int = 128,
    num_layers: int = 2,
    num_heads: int = 4,
    dropout: float = 0.3,
) -> keras.Model:
    """Encoder of tokens, trained from scratch: self-attention, then the mean.

    Args:
      input_shape: (tokens or None,), int; 512 at most.
      num_classes: outputs.
      vocabulary_size: number of token ids, including 0 for padding.
      embedding_dim: width of the dense layer.
      token_dim: width of a token embedding, constant through all layers.
      num_layers: blocks of self-attention and two dense layers (twice as wide).
      num_heads: of each self-attention.
      dropout: of the token embeddings, within the blocks and before the head.
    Returns:
      Model from [`features` (batch, tokens) int32, `mask` (batch, tokens) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}.
    Raises:
      UserError: features that are not tokens.
    Source: Vaswani et al. 2017, the encoder, with the norm first (Xiong et al. 2020).
    """
    require_tokens("text_transformer", input_shape)

    # === Layers ===
    embed = keras_hub.layers.TokenAndPositionEmbedding(
        vocabulary_size, MAX_POSITIONS, token_dim, name="token_embedding"
    )
    blocks = [
        keras_hub.layers.TransformerEncoder(
            2 * token_dim, num_heads, dropout=dropout, normalize_first=True
        )
        for _ in range(num_layers)
    ]
    dense = layers.Dense(embedding_dim, activation="relu", name="embedding")
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    tokens = keras.Input(input_shape, name="features", dtype="int32")
    mask = keras.Input(input_shape, name="mask", dtype="bool")
    x = layers.SpatialDropout1D(dropout)(embed(tokens))
    for block in blocks:
        x = block(x, padding_mask=mask)
    embedding = dense(MaskedMean()(layers.LayerNormalization()(x), mask))
    logits = head(layers.Dropout(dropout)(embedding))
    outputs = {"logits": logits, "embedding": embedding}
    return keras.Model([tokens, mask], outputs, name="text_transformer")
