"""Word pieces of a text for BERT, in the graph (TensorFlow Text)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from affectstream.core import lfs_pointer
from affectstream.core.errors import UserError, from_os_error
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.features.text.tokens import PAD_ID, FitTokens, require_sizes
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import PIECES, TOKENS
from affectstream.modeling.pretrained_weights import NO_WEIGHTS
from affectstream.modeling.text_presets import preset_tokenizer

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)


@keras.saving.register_keras_serializable(package="affectstream")
class SplitIntoWordPieces(keras.layers.Layer):
    """Text -> [CLS] word pieces [SEP], padded with [PAD].

    A model with this layer needs the operations of TensorFlow Text, here and in a server.

    Args:
      vocabulary: the pieces; continuations within a word begin with ##.
      max_tokens: largest number per row, including [CLS] and [SEP].
      lowercase: lower case without accents, for uncased models; False for cased ones.
    Call:
      text: (batch,) string; bytes that are not UTF-8 count as unknown.
    Returns:
      (batch, pieces) int32.
    Source: Schuster & Nakajima 2012; Devlin et al. 2019; equal to BERT's reference implementation.
    """

    def __init__(
        self, vocabulary: Sequence[str], max_tokens: int, lowercase: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "int32"})
        import tensorflow_text

        self.vocabulary = list(vocabulary)
        self.max_tokens = max_tokens
        self.lowercase = lowercase
        places = {piece: place for place, piece in enumerate(self.vocabulary)}
        self._begin, self._end, self._pad = (places[piece] for piece in (CLS, SEP, PAD))
        self._convert_input_args = False
        self._splitter = tensorflow_text.FastBertTokenizer(
            self.vocabulary, token_out_type=tf.int32, lower_case_nfd_strip_accents=lowercase
        )

    def call(self, text: Any) -> Any:
        pieces = self._splitter.tokenize(text)[:, : self.max_tokens - 2]
        ends = tf.fill([tf.shape(text)[0], 1], 0)
        row = tf.concat([ends + self._begin, pieces, ends + self._end], axis=1)
        return row.to_tensor(self._pad)

    def compute_output_spec(self, text: Any) -> keras.KerasTensor:
        return keras.KerasTensor((text.shape[0], None), "int32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary,
            "max_tokens": self.max_tokens,
            "lowercase": self.lowercase,
        }


@dataclass(frozen=True)
class WordPieces:
    """Front end: text -> word piece ids.

    Attributes:
      max_tokens: pieces per row, including [CLS] and [SEP].
      vocabulary_size: size of a vocabulary that is fitted here.
      vocabulary: file with one piece per line; "" takes that of the pretrained weights, or fits one
        on the training split.
      lowercase: see `SplitIntoWordPieces`; pretrained weights override it.
      pieces: the vocabulary itself; empty before `fitted`.
    """

    max_tokens: int = 128
    vocabulary_size: int = 8_000
    vocabulary: str = ""
    lowercase: bool = True
    pieces: tuple[str, ...] = ()
    stream: str = "text"
    standardise_axis: int | None = None

    def fitted(self, texts: Sequence[str], pretrained: str) -> WordPieces:
        """Returns the front end with a vocabulary from weights, file or training split.

        Args:
          pretrained: the encoder's weights, or "none".
        Raises:
          UserError: a setting out of range; weights or file cannot be read, or lack a special
            piece; no text to fit a vocabulary on.
        """
        require_sizes(self.max_tokens, self.vocabulary_size)
        if pretrained != NO_WEIGHTS:
            if self.vocabulary:
                raise UserError(
                    f"vocabulary={self.vocabulary}: weights={pretrained} bring their own; leave"
                    " one out"
                )
            tokenizer = preset_tokenizer(pretrained)
            pieces, lowercase = tokenizer.get_vocabulary(), bool(tokenizer.lowercase)
            return self._with(tuple(pieces), pretrained, lowercase)
        if self.vocabulary:
            return self._with(_read(Path(self.vocabulary)), self.vocabulary, self.lowercase)
        pieces = _learn(texts, self.vocabulary_size, self.lowercase)
        return self._with(pieces, "learnt vocabulary", self.lowercase)

    def from_model(self, model: keras.Model) -> WordPieces:
        split = model.get_layer(PIECES)
        return dataclasses.replace(self, pieces=tuple(split.vocabulary), lowercase=split.lowercase)

    def _with(self, pieces: tuple[str, ...], source: str, lowercase: bool) -> WordPieces:
        known = set(pieces)
        if missing := [piece for piece in (PAD, UNK, CLS, SEP) if piece not in known]:
            raise UserError(f"{source}: no vocabulary of BERT, it lacks {', '.join(missing)}")
        if pieces[0] != PAD:
            raise UserError(f"{source}: {PAD} must be its first line")
        return dataclasses.replace(self, pieces=pieces, lowercase=lowercase)

    def connect(self, inputs: dict[str, Any], spec: InputSpec) -> Features:
        """(batch, pieces) int32 and its mask."""
        split = SplitIntoWordPieces(self.pieces, self.max_tokens, self.lowercase, name=PIECES)
        tokens = FitTokens(self.max_tokens, name=TOKENS)(split(inputs["text"]))
        return Features(tokens, keras.ops.not_equal(tokens, PAD_ID), len(self.pieces))


def _read(path: Path) -> tuple[str, ...]:
    lfs_pointer.require_not_pointer(path)
    try:
        # Not `splitlines`: multilingual vocabularies hold characters that it treats as line ends.
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError as error:
        raise from_os_error(error, path) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); give a vocab.txt") from error
    return tuple(lines)


def _learn(texts: Sequence[str], size: int, lowercase: bool) -> tuple[str, ...]:
    """Fits pieces by word frequency, as keras-hub does."""
    import keras_hub

    if not any(text.strip() for text in texts):
        raise UserError(
            f"no vocabulary can be learnt: none of {len(texts)} training texts has words; name one"
            " (--set vocabulary=vocab.txt) or add texts"
        )
    data = tf.data.Dataset.from_tensor_slices([text.encode() for text in texts])
    return tuple(
        keras_hub.tokenizers.compute_word_piece_vocabulary(
            data,
            vocabulary_size=size,
            lowercase=lowercase,
            strip_accents=lowercase,
            reserved_tokens=list(SPECIAL),
        )
    )


WORD_PIECES = WordPieces()
