"""Share of a text's words that are in the model's vocabulary. Imports no TensorFlow."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from affectstream.serving.inference.prediction import low_percent

# At or below this share, the text is probably in another language, or not text.
LOW_KNOWN_WORD_SHARE = 0.5
_WORD_PIECES_BEGIN_WITH = "[PAD]"
_TFIDF_BEGINS_WITH = "[UNK]"
_DROPPED = "'’`\ufe0f"
# As `tfidf.standardise_terms`; combining marks count as letters here, which `\w` excludes.
_TFIDF_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class KnownWords:
    """The vocabulary of a text model: words, word pieces or TF-IDF terms.

    Attributes:
      words: known words, as written by `WordTokens`, `WordPieces` or `Tfidf`.
      is_wordpiece: whether the vocabulary contains word pieces; a word is known only if the
        vocabulary holds it whole, because pieces can spell any word of any language.
      lowercase: whether the model only uses lower case without accents.
      is_tfidf: whether words are split as in `Tfidf`; words of one letter are ignored.
    """

    words: frozenset[str]
    is_wordpiece: bool
    lowercase: bool = True
    is_tfidf: bool = False

    @classmethod
    def from_vocabulary(cls, vocabulary: Sequence[str]) -> KnownWords | None:
        """Creates it from `vocabulary_of` the model; None if that is empty."""
        if not vocabulary:
            return None
        if vocabulary[0] == _TFIDF_BEGINS_WITH:
            single = frozenset(term for term in vocabulary[1:] if " " not in term)
            return cls(single, is_wordpiece=False, is_tfidf=True)
        is_wordpiece = vocabulary[0] == _WORD_PIECES_BEGIN_WITH
        special = 1 if is_wordpiece else 2  # without the entries for padding and unknown
        words = frozenset(vocabulary[special:])
        lowercase = not any(word[:1].isupper() for word in words)
        return cls(words, is_wordpiece, lowercase)

    def share(self, text: str) -> float:
        """Share of known words in a text, 0 if it has no words."""
        words = self._words_of(text)
        return sum(word in self.words for word in words) / len(words) if words else 0.0

    def _words_of(self, text: str) -> list[str]:
        if self.is_tfidf:
            return [word for word in _TFIDF_WORD.findall(text.lower()) if len(word) > 1]
        if not self.is_wordpiece:
            return _split(text.lower(), _DROPPED)
        if self.lowercase:
            text = unicodedata.normalize("NFD", text.lower())
            text = "".join(one for one in text if unicodedata.category(one) != "Mn")
        return _split(text, "")


def known_words_warning(share: float | None) -> Iterator[str]:
    """Warns if the share of known words is low."""
    if share is not None and share <= LOW_KNOWN_WORD_SHARE:
        share_text = f"{low_percent(share)} of the words are" if share else "no word is"
        yield f"{share_text} known to the model: the answer from words means little"


def _split(text: str, dropped: str) -> list[str]:
    """Runs of letters, marks and digits; an emoji is a word, punctuation is not."""
    out = []
    for one in text:
        kind = unicodedata.category(one)
        if one in dropped:
            continue
        if kind == "So":
            out.append(f" {one} ")
        else:
            out.append(one if kind[0] in "LMN" else " ")
    return "".join(out).split()
