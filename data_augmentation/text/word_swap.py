"""Swaps random pairs of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from affectstream.data_augmentation.text.word_tokens import TokenizedText
from affectstream.data_augmentation.transform import Parameters, TextTransform, check_between

# Draws for a second word that differs from the first.
_MAX_TRIES = 16


@dataclass(frozen=True, kw_only=True)
class WordSwap(TextTransform):
    """Exchanges pairs of words; brackets, quotation and sentence marks stay where they are.

    A text with fewer than two different words stays as it is.

    Parameters of `apply`: `swaps`, pairs of numbers of words, from 0, exchanged one after another.

    Attributes:
      share: pairs per word, in [0, 1]; rounded, and at least one pair a text.
      neighbours_only: whether the two words must stand side by side.

    Source: Wei & Zou 2019, EDA (random swap).
    """

    name: ClassVar[str] = "word_swap"

    share: float = 0.1
    neighbours_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("share", self.share, 0.0, 1.0)

    def sample(self, rng: np.random.Generator, text: str) -> Parameters:
        """Draws pairs of different words, each pair once."""
        cores = [word.core for word in TokenizedText.of(text).words]
        num_pairs = max(1, round(self.share * len(cores)))
        if self.neighbours_only:
            unlike = [i for i in range(len(cores) - 1) if cores[i] != cores[i + 1]]
            picked = rng.permutation(len(unlike))[:num_pairs]
            return {"swaps": [[unlike[i], unlike[i] + 1] for i in picked]}
        swaps: dict[tuple[int, int], None] = {}
        for _ in range(num_pairs if len(set(cores)) > 1 else 0):
            for _ in range(_MAX_TRIES):
                first, second = sorted(rng.integers(len(cores), size=2).tolist())
                if cores[first] != cores[second] and (first, second) not in swaps:
                    swaps[first, second] = None
                    break
        if not swaps and len(set(cores)) > 1:  # nearly all words are the same one
            first = next(i for i in range(1, len(cores)) if cores[i] != cores[0])
            swaps[0, first] = None
        return {"swaps": [list(pair) for pair in swaps]}

    def _apply(self, text: str, swaps: Sequence[Sequence[int]]) -> str:
        words = TokenizedText.of(text)
        cores = [word.core for word in words.words]
        for first, second in swaps:
            words.require_index(first)
            words.require_index(second)
            cores[first], cores[second] = cores[second], cores[first]
        return str(
            words.with_words(
                [replace(word, core=core) for word, core in zip(words.words, cores, strict=True)]
            )
        )
