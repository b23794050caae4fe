"""The words of a text, with the marks around them and the space between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# Marks that end or divide a sentence; they stand behind a word.
SENTENCE_MARKS = frozenset(".,!?;:…。！？、，；：؟،؛।॥")
_QUOTES = frozenset("\"'`¿¡")
_BRACKETS = frozenset(("Ps", "Pe", "Pi", "Pf"))  # and quotation marks, as Unicode names them


@dataclass(frozen=True)
class WordToken:
    """What stands between two stretches of whitespace.

    Attributes:
      before, after: brackets and quotation marks around it; `after` has sentence marks too.
      core: the rest; the whole word where the rest has no letter or digit, such as an emoticon.
    """

    before: str
    core: str
    after: str

    def __str__(self) -> str:
        return self.before + self.core + self.after


@dataclass(frozen=True)
class TokenizedText:
    """A text in pieces: `str()` of it is the text again, character by character.

    Attributes:
      words: in their order.
      gaps: whitespace before the first word, between two, and after the last: one more than words.
    """

    words: tuple[WordToken, ...]
    gaps: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> TokenizedText:
        """Divides a text at whitespace."""
        return cls(tuple(map(_word, re.findall(r"\S+", text))), tuple(re.split(r"\S+", text)))

    def __str__(self) -> str:
        spaced = (str(w) + gap for w, gap in zip(self.words, self.gaps[1:], strict=True))
        return self.gaps[0] + "".join(spaced)

    def with_words(self, words: Sequence[WordToken]) -> TokenizedText:
        """As many other words with the same space between them."""
        return TokenizedText(tuple(words), self.gaps)

    def require_index(self, index: int) -> None:
        """Refuses the number of a word that is not there.

        Raises:
          ValueError: naming it.
        """
        if not 0 <= index < len(self.words):
            raise ValueError(f"no word {index!r} in a text of {len(self.words)}")


def _word(piece: str) -> WordToken:
    if piece.isalnum():
        return WordToken("", piece, "")
    start, end = 0, len(piece)
    while start < end and _is_around(piece[start]):
        start += 1
    while end > start and (piece[end - 1] in SENTENCE_MARKS or _is_around(piece[end - 1])):
        end -= 1
    core = piece[start:end]
    if not any(map(str.isalnum, core)):
        return WordToken("", piece, "")
    return WordToken(piece[:start], core, piece[end:])


def _is_around(character: str) -> bool:
    return character in _QUOTES or unicodedata.category(character) in _BRACKETS


def normalize_text(text: str) -> str:
    """Normal form for comparing texts: without case, punctuation and extra whitespace.

    A text of marks only, such as an emoticon, is kept as it is but for spacing.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(c if not unicodedata.category(c).startswith("P") else " " for c in folded)
    return " ".join(words.split()) or " ".join(folded.split())
