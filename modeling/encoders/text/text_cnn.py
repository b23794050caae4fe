"""Convolutions of several widths over the tokens of a text."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from affectstream.modeling.encoders.input_checks import require_tokens

KERNELS = (1, 2, 3, 5)


@keras.saving.register_keras_serializable(package="affectstream")
class MaskedMax(layers.Layer):
    """Largest value over the valid tokens; 0 if there are none.

    Call:
      values: (batch, tokens, dim) float, 0 or more.
      mask: (batch, tokens) bool or number.
    Returns:
      (batch, dim) float.
    """

    def call(self, values: Any, mask: Any) -> Any:
        return ops.max(values * ops.cast(mask, values.dtype)[:, :, None], axis=1)

    def compute_output_shape(self, values_shape: Any, mask_shape: Any = None) -> Any:
        return (values_shape[0], values_shape[-1])


def text_cnn(
    input_shape: tuple[int | None],
    num_classes: int,
    vocabulary_size: int,
    embedding_dim: int = 128,
    token_dim: int = 128,
    filters: int = 128,
    token_dropout: float = 0.4,
    dropout: float = 0.5,
) -> keras.Model:
    """Encoder of tokens, trained from scratch; padding has no effect.

    Args:
      input_shape: (tokens or None,), int.
      num_classes: outputs.
      vocabulary_size: number of token ids, including 0 for padding.
      embedding_dim: width of the dense layer.
      token_dim: width of a token embedding.
      filters: for each of the four kernel widths 1, 2, 3, 5.
      token_dropout: of the token embeddings; drops a whole dimension over all tokens.
      dropout: before the dense layer and before the head.
    Returns:
      Model from [`features` (batch, tokens) int32, `mask` (batch, tokens) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}.
    Raises:
      UserError: features that are not tokens.
    Source: Kim 2014 (Convolutional Neural Networks for Sentence Classification).
    """
    require_tokens("text_cnn", input_shape)

    # === Layers ===
    embed = layers.Embedding(vocabulary_size, token_dim, name="token_embedding")
    # Explicit names: Keras would continue its numbering in a process that has built another model.
    # TensorFlow adds up gradients in an order that depends on the names, so the last bits would
    # differ.
    convolutions = [
        layers.Conv1D(filters, size, padding="same", activation="relu", name=f"convolution_{size}")
        for size in KERNELS
    ]
    dense = layers.Dense(embedding_dim, activation="relu", name="embedding")
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    tokens = keras.Input(input_shape, name="features", dtype="int32")
    mask = keras.Input(input_shape, name="mask", dtype="bool")
    x = layers.SpatialDropout1D(token_dropout)(embed(tokens))
    x = x * ops.cast(mask, x.dtype)[:, :, None]
    pooled = [MaskedMax()(convolve(x), mask) for convolve in convolutions]
    joined = layers.Dropout(dropout)(layers.Concatenate()(pooled))
    embedding = dense(joined)
    logits = head(layers.Dropout(dropout)(embedding))
    outputs = {"logits": logits, "embedding": embedding}
    return keras.Model([tokens, mask], outputs, name="text_cnn")
