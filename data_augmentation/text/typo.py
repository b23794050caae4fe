"""Random typing errors."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from affectstream.data_augmentation.text.word_tokens import TokenizedText, WordToken
from affectstream.data_augmentation.transform import Parameters, TextTransform, check_between

SWAP, DROP, DOUBLE, NEIGHBOUR = "swap", "drop", "double", "neighbour"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# A row stands this much of a key to the right of the one above it.
_SHIFTS = (0.0, 0.25, 0.75)


def _neighbours() -> dict[str, str]:
    """Letter -> the letters whose keys touch its key on a QWERTY keyboard."""
    place = {
        letter: (column + shift, line)
        for line, (row, shift) in enumerate(zip(_ROWS, _SHIFTS, strict=True))
        for column, letter in enumerate(row)
    }
    return {
        a: "".join(
            b for b, (p, q) in place.items() if a != b and abs(p - x) <= 1.0 and abs(q - y) <= 1
        )
        for a, (x, y) in place.items()
    }


NEIGHBOURS = _neighbours()


@dataclass(frozen=True, kw_only=True)
class Typo(TextTransform):
    """One slip in each of some words: letters swapped, dropped, doubled, or a key beside it hit.

    Letters of any script take part, except those that carry combining marks; a key beside it is
    known for a-z only. Emoji, digits and marks are left alone, and so is a text without a word of
    `min_letters`.

    Parameters of `apply`: `slips`, each [number of the word, number of its letter, kind, typed],
    with kind "swap" (with the next letter), "drop", "double" or "neighbour" (`typed` takes its
    place; "" otherwise); numbers from 0, of a word's core; each word once.

    Attributes:
      share: share in [0, 1] of the words that get a slip; rounded, and at least one.
      min_letters: words with fewer letters are spared, at least 2.

    Source: Belinkov & Bisk 2018 (swap and keyboard noise).
    """

    name: ClassVar[str] = "typo"

    share: float = 0.1
    min_letters: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("share", self.share, 0.0, 1.0)
        check_between("min_letters", self.min_letters, 2, 1000)

    def sample(self, rng: np.random.Generator, text: str) -> Parameters:
        """Draws the words, and in each the letter and what happens to it."""
        words = TokenizedText.of(text).words
        able = [
            index
            for index, word in enumerate(words)
            if sum(map(str.isalpha, word.core)) >= self.min_letters and _free(word.core)
        ]
        num_slips = min(len(able), max(1, round(self.share * len(words))))
        picked = sorted(rng.permutation(len(able))[:num_slips].tolist())
        return {"slips": [[able[i], *_slip(rng, words[able[i]].core)] for i in picked]}

    def _apply(self, text: str, slips: Sequence[Sequence[Any]]) -> str:
        words = TokenizedText.of(text)
        typed = list(words.words)
        for index, letter, kind, instead in slips:
            words.require_index(index)
            typed[index] = _with_slip(words.words[index], letter, kind, instead)
        return str(words.with_words(typed))


def _free(core: str) -> list[int]:
    """Numbers of the letters that stand for themselves: no combining mark follows."""
    return [
        i
        for i, letter in enumerate(core)
        if letter.isalpha() and not (i + 1 < len(core) and _joins(core[i + 1]))
    ]


def _joins(character: str) -> bool:
    """Whether a character changes the one before it."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def _slip(rng: np.random.Generator, core: str) -> tuple[int, str, str]:
    """Number of a letter of a word, kind and what is typed instead."""
    free = _free(core)
    at = free[rng.integers(len(free))]
    kinds = [DROP, DOUBLE]
    if at + 1 in free and core[at] != core[at + 1]:
        kinds.append(SWAP)
    keys = NEIGHBOURS.get(core[at].lower(), "")
    if keys:
        kinds.append(NEIGHBOUR)
    kind = kinds[rng.integers(len(kinds))]
    if kind != NEIGHBOUR:
        return at, kind, ""
    key = keys[rng.integers(len(keys))]
    return at, kind, key.upper() if core[at].isupper() else key


def _with_slip(word: WordToken, at: int, kind: str, typed: str) -> WordToken:
    core = word.core
    if not 0 <= at < len(core) - (kind == SWAP):
        raise ValueError(f"no letter {at!r} to {kind} in {core!r}")
    here, after = core[at], core[at + 1 :]
    changed = {
        SWAP: after[:1] + here + after[1:],
        DROP: after,
        DOUBLE: here + here + after,
        NEIGHBOUR: typed + after,
    }
    if kind not in changed:
        raise ValueError(f"kind must be one of {', '.join(changed)}, received {kind!r}")
    return replace(word, core=core[:at] + changed[kind])
