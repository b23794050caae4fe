"""Words of a text as ids, in the graph, with a vocabulary fitted on the training split."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from affectstream.core.errors import UserError, pluralize
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.features.text.tokens import PAD_ID, FitTokens, require_sizes
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import TOKENS, WORDS

READ_BATCH = 4096


@keras.saving.register_keras_serializable(package="affectstream")
def standardise_words(text: tf.Tensor) -> tf.Tensor:
    """Lower case, without apostrophes; !, ? and emoji become separate words.

    Args:
      text: string, any shape.
    Returns:
      string of the same shape, words separated by single spaces.
    """
    text = tf.strings.lower(text, encoding="utf-8")
    text = tf.strings.regex_replace(text, r"['’`\x{FE0F}]", "")
    text = tf.strings.regex_replace(text, r"([!?\p{So}])", r" \1 ")
    text = tf.strings.regex_replace(text, r"[^\pL\pM\pN!?\p{So}]+", " ")
    return tf.strings.strip(text)


def split_words(texts: Sequence[str]) -> Iterator[list[str]]:
    """The words of each text, split as in the graph."""
    for start in range(0, len(texts), READ_BATCH):
        batch = tf.constant([text.encode() for text in texts[start : start + READ_BATCH]])
        for words in tf.strings.split(standardise_words(batch)).to_list():
            yield [word.decode() for word in words]


@dataclass(frozen=True)
class WordTokens:
    """Front end: text -> word ids, 0 for padding, 1 for an unknown word.

    Attributes:
      max_tokens: further words are ignored.
      vocabulary_size: the most frequent words of the training split are kept.
      min_count: rarer words count as unknown, so that training includes unknown words.
      vocabulary: the words; empty before `fitted`.
    """

    max_tokens: int = 64
    vocabulary_size: int = 20_000
    min_count: int = 2
    vocabulary: tuple[str, ...] = ()
    stream: str = "text"
    standardise_axis: int | None = None

    def fitted(self, texts: Sequence[str], pretrained: str) -> WordTokens:
        """Returns the front end with the words of the training split, the most frequent first.

        Raises:
          UserError: a setting out of range, or no word occurs often enough.
        """
        require_sizes(self.max_tokens, self.vocabulary_size)
        counts = Counter(word for words in split_words(texts) for word in words)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        frequent = [word for word, count in ranked if count >= self.min_count]
        if not frequent:
            raise UserError(
                f"no word occurs {pluralize(self.min_count, 'time')} in"
                f" {pluralize(len(texts), 'training text')}; lower it"
                " (--set min_count=1) or add texts"
            )
        return dataclasses.replace(self, vocabulary=tuple(frequent[: self.vocabulary_size]))

    def from_model(self, model: keras.Model) -> WordTokens:
        vocabulary = model.get_layer(WORDS).get_vocabulary()[2:]  # without padding and unknown
        return dataclasses.replace(self, vocabulary=tuple(vocabulary))

    def connect(self, inputs: dict[str, Any], spec: InputSpec) -> Features:
        """(batch, words) int32 and its mask; see `FitTokens`."""
        look_up = keras.layers.TextVectorization(
            standardize=standardise_words,
            split="whitespace",
            vocabulary=list(self.vocabulary),
            name=WORDS,
        )
        tokens = FitTokens(self.max_tokens, name=TOKENS)(look_up(inputs["text"]))
        mask = keras.ops.not_equal(tokens, PAD_ID)
        return Features(tokens, mask, look_up.vocabulary_size())


WORD_TOKENS = WordTokens()
