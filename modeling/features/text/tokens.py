"""Token ids, cut or padded to a length that every encoder can take."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from affectstream.core.errors import UserError

PAD_ID = 0
# The widest kernel of an encoder must fit, even if all texts of a batch are empty.
MIN_TOKENS = 8
# Transformers have this many positions.
MAX_TOKENS = 512


def require_sizes(max_tokens: int, vocabulary_size: int) -> None:
    """Checks the settings shared by all token front ends.

    Raises:
      UserError: one of them is out of range.
    """
    if not MIN_TOKENS <= max_tokens <= MAX_TOKENS:
        raise UserError(f"max_tokens={max_tokens}: must be from {MIN_TOKENS} to {MAX_TOKENS}")
    if vocabulary_size < 1:
        raise UserError(f"vocabulary_size={vocabulary_size}: must be 1 or more")


@keras.saving.register_keras_serializable(package="affectstream")
class FitTokens(keras.layers.Layer):
    """Cuts rows at `max_tokens` and pads them to at least 8; a batch is as wide as its longest row.

    Call:
      tokens: (batch, words) integer, `PAD_ID` after the last word.
    Returns:
      (batch, 8 to max_tokens) int32.
    """

    def __init__(self, max_tokens: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "int32"})
        if max_tokens < MIN_TOKENS:
            raise ValueError(f"max_tokens must be {MIN_TOKENS} or more, received {max_tokens}")
        self.max_tokens = max_tokens

    def call(self, tokens: Any) -> Any:
        tokens = ops.cast(tokens, "int32")[:, : self.max_tokens]
        lacking = ops.maximum(MIN_TOKENS - ops.shape(tokens)[1], 0)
        padding = ops.full((ops.shape(tokens)[0], lacking), PAD_ID, "int32")
        return ops.concatenate([tokens, padding], axis=1)

    def compute_output_shape(self, tokens_shape: Any) -> Any:
        return (tokens_shape[0], None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_tokens": self.max_tokens}
