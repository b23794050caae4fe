"""Paraphrases: a text translated into another language and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.data_augmentation.offline.translators.translator import (
    EmptyTranslationError,
    TextRefusedError,
    Translator,
    TranslatorUnavailableError,
)
from affectstream.data_augmentation.text.word_tokens import normalize_text
from affectstream.opencv_model.weights import cache_folder
from affectstream.preprocessing.content_hash import content_hash

PIVOTS = ("fr", "de", "es", "it", "pt")
# After this many consecutive empty responses the service is at fault, not the texts.
MAX_EMPTY_IN_A_ROW = 20


def translations_folder() -> Path:
    """Default folder of translations."""
    return cache_folder() / "translations"


@dataclass
class BackTranslator:
    """Translates into each pivot language and back.

    Each translation, in both directions, is one small file of the cache, so nothing is requested
    twice.

    Attributes:
      translator: the service; the interval between requests and its retries are its own.
      pivots: languages to go through.
      source: language of the texts.
      cache_dir: None for `translations_folder()`.
    Raises:
      UserError: a language that the service does not know, one given twice, or no pivot.

    Source: Sennrich et al. 2016 (back-translation); Xie et al. 2020, UDA (as augmentation).
    """

    translator: Translator
    pivots: Sequence[str] = PIVOTS
    source: str = "en"
    cache_dir: Path | None = None
    _empty_in_a_row: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        languages = (self.source, *self.pivots)
        if not self.pivots or len(set(languages)) < len(languages):
            raise UserError(
                f"pivots {','.join(self.pivots) or 'none'} for texts in {self.source}: name at"
                " least one language, each once, none of them that of the texts"
            )
        for code in languages:
            self.translator.require_language(code)

    def paraphrase(self, text: str, pivot: str) -> str:
        """The text by way of one language; it may equal the original, see `normalize_text`.

        Args:
          text: of at least one word; whitespace counts as single spaces.
          pivot: one of `pivots`.
        Raises:
          TextRefusedError: the service gives no translation of this text.
          TranslatorUnavailableError: it cannot be had now.
        """
        plain = " ".join(text.split())
        translated = self._translated(plain, self.source, pivot)
        return self._translated(translated, pivot, self.source)

    def paraphrases(self, text: str) -> Iterator[tuple[str, str | TextRefusedError | None]]:
        """For each pivot its name, and the paraphrase, or why there is none.

        None stands for one that says the same as the text, or as one before; a refusal is yielded,
        so that the other pivots still have their turn.

        Raises:
          TranslatorUnavailableError: see `paraphrase`.
        """
        seen = {normalize_text(text)}
        for pivot in self.pivots:
            try:
                other = self.paraphrase(text, pivot)
            except TextRefusedError as error:
                yield pivot, error
                continue
            yield pivot, None if normalize_text(other) in seen else other
            seen.add(normalize_text(other))

    def _translated(self, text: str, source: str, target: str) -> str:
        file = self._file(text, source, target)
        kept = _kept(file, text)
        if kept is not None:
            return kept
        try:
            (made,) = self.translator.translate([text], source, target)
        except EmptyTranslationError as error:
            self._empty_in_a_row += 1
            if self._empty_in_a_row < MAX_EMPTY_IN_A_ROW:
                raise
            raise TranslatorUnavailableError(
                f"translator {self.translator.name}: {self._empty_in_a_row} answers in a row"
                f" without a translation, the last one: {error}"
            ) from error
        self._empty_in_a_row = 0
        atomic_io.write_json(file, {"text": text, "translation": made})
        return made

    def _file(self, text: str, source: str, target: str) -> Path:
        folder = self.cache_dir or translations_folder()
        name = content_hash(text.encode())
        pair = folder / self.translator.name / f"{source}-{target}"
        return pair / name[:2] / f"{name}.json"


def _kept(file: Path, text: str) -> str | None:
    """The translation that a file of the cache holds; a damaged file counts as absent."""
    held = atomic_io.read_cached_json(file)
    made = held.get("translation") if held.get("text") == text else None
    return made if isinstance(made, str) and made.strip() else None
