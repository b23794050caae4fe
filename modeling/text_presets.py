"""Published text networks: names, `hf://` handles or local folders, read through keras-hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras

from affectstream.core.errors import UserError

Made = TypeVar("Made")


def preset_tokenizer(preset: str) -> Any:
    """The tokenizer of some weights: `get_vocabulary()` and `lowercase`.

    Raises:
      UserError: missing, not reachable, or not of BERT's word piece family.
    """
    import keras_hub

    tokenizer = _read(preset, lambda: keras_hub.tokenizers.Tokenizer.from_preset(preset))
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        raise UserError(
            f"weights={preset}: its tokenizer is {type(tokenizer).__name__}, not word pieces; give"
            " weights of BERT or DistilBERT"
        )
    return tokenizer


def preset_backbone(preset: str, kind: type[keras.Model]) -> keras.Model:
    """The network of a preset with its weights.

    Args:
      kind: required class.
    Raises:
      UserError: missing, not reachable, or another network.
    """
    import keras_hub

    backbone = _read(preset, lambda: keras_hub.models.Backbone.from_preset(preset))
    if not isinstance(backbone, kind):
        raise UserError(
            f"weights={preset}: a {type(backbone).__name__}, where a {kind.__name__} is needed;"
            " give others"
        )
    return backbone


def _read(preset: str, read: Callable[[], Made]) -> Made:
    """Calls `read`; any exception of the hub clients (there are many kinds) becomes one line."""
    try:
        return read()
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"weights={preset}: cannot be read ({first}); go online, give a local folder of"
            " keras-hub or Hugging Face, or train from scratch (--set weights=none)"
        ) from error
