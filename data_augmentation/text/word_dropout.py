"""WordToken dropout: deletes random words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.text.word_tokens import SENTENCE_MARKS, TokenizedText, WordToken
from affectstream.data_augmentation.transform import Parameters, TextTransform, check_between


@dataclass(frozen=True, kw_only=True)
class WordDropout(TextTransform):
    """Leaves out each word with the same chance; at least one goes and at least one stays.

    A sentence mark behind a word that goes takes the place of those behind the word before it:
    "Hello, world!" without "world" is "Hello!". A text of one word stays as it is.

    Parameters of `apply`: `dropped`, ascending numbers of words, from 0.

    Attributes:
      share: probability in [0, 0.9] that a word is removed.

    Source: Iyyer et al. 2015 (word dropout); Wei & Zou 2019, EDA (random deletion).
    """

    name: ClassVar[str] = "word_dropout"

    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("share", self.share, 0.0, 0.9)

    def sample(self, rng: np.random.Generator, text: str) -> Parameters:
        """Draws which words go."""
        num_words = len(TokenizedText.of(text).words)
        if num_words < 2:
            return {"dropped": []}
        goes = rng.random(num_words) < self.share
        if goes.all() or not goes.any():
            goes[rng.integers(num_words)] ^= True
        return {"dropped": np.flatnonzero(goes).tolist()}

    def _apply(self, text: str, dropped: Sequence[int]) -> str:
        words = TokenizedText.of(text)
        for index in dropped:
            words.require_index(index)
        goes = set(dropped)
        kept: list[WordToken] = []
        gaps = [words.gaps[0]]
        for index, (word, gap) in enumerate(zip(words.words, words.gaps, strict=False)):
            if index in goes:
                if kept:
                    kept[-1] = _ended_as(kept[-1], word)
                continue
            if kept:
                gaps.append(gap)
            kept.append(word)
        return str(TokenizedText(tuple(kept), (*gaps, words.gaps[-1]))) if kept else ""


def _ended_as(word: WordToken, gone: WordToken) -> WordToken:
    """`word` with the sentence marks of the word after it, if that has any."""
    marks = "".join(mark for mark in gone.after if mark in SENTENCE_MARKS)
    if not marks:
        return word
    own = "".join(mark for mark in word.after if mark not in SENTENCE_MARKS)
    return replace(word, after=own + marks)
