"""Paraphrased or perturbed text copies, without the voice and face of the original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from affectstream.data_augmentation.chain import Chain
from affectstream.data_augmentation.offline.back_translation import BackTranslator
from affectstream.data_augmentation.offline.translators.translator import TextRefusedError
from affectstream.data_augmentation.text.word_tokens import normalize_text
from affectstream.preprocessing.content_hash import TEXT_HASH
from affectstream.preprocessing.corpora.text_table import text_hash
from affectstream.preprocessing.records.record import Record

# Draws until one gives a text that is new; for a text of two words few are.
MAX_DRAWS = 64
# Attribute that says how a text copy came about, such as "word_swap+typo" or "google fr".
REWORDED_BY = "reworded_by"


@dataclass(frozen=True)
class RejectedTranslation:
    """A paraphrase that the translator did not give.

    Attributes:
      id: of the clip.
      pivot: language that was to be gone through.
      reason: one line.
    """

    id: str
    pivot: str
    reason: str


@dataclass(frozen=True)
class TextAugmenter:
    """Makes text copies of one record.

    Attributes:
      chain: transforms of text, drawn by (seed, copy number, record id); None for none.
      back: paraphrases by translation; None for none.
      held_out: `words.normalize_text` of the texts that validate and test; no copy may be one of
        them.
    """

    chain: Chain | None = None
    back_translator: BackTranslator | None = None
    held_out: frozenset[str] = frozenset()

    def max_num_copies(self, num_copies: int) -> int:
        """Copies of one text when each comes out: `num_copies` transformed, one a pivot."""
        return num_copies * (self.chain is not None) + len(
            self.back_translator.pivots if self.back_translator else ()
        )

    def copies(
        self, record: Record, num_copies: int
    ) -> Iterator[Record | RejectedTranslation | None]:
        """Yields `num_wanted` results: a copy, None where no new text came out, or a refusal.

        No two copies have the same text, nor that of the record, nor a held-out one.

        Raises:
          TranslatorUnavailableError: the translator cannot be had now.
        """
        used = {record.transcript}
        if self.chain is not None:
            for number in range(1, num_copies + 1):
                yield self._transformed(self.chain, record, number, used)
        if self.back_translator is not None:
            for pivot, text in self.back_translator.paraphrases(record.transcript):
                if isinstance(text, TextRefusedError):
                    yield RejectedTranslation(record.id, pivot, str(text))
                elif text is None or not self._is_new(text, used):
                    yield None
                else:
                    name = f"{self.back_translator.translator.name} {pivot}"
                    yield reworded(record, f"{record.id}+back-{pivot}", text, name)

    def _transformed(
        self, chain: Chain, record: Record, number: int, used: set[str]
    ) -> Record | None:
        """The `number`-th transformed copy, if a draw gives a new text."""
        for draw in range(MAX_DRAWS):
            key = (number, f"{record.id}#{draw}" if draw else record.id)
            drawn = chain.sample_all(record.transcript, None, key)
            text = chain.apply_all(record.transcript, None, drawn)
            if self._is_new(text, used):
                names = "+".join(name for name, parameters in drawn if parameters is not None)
                return reworded(record, f"{record.id}+text{number}", text, names)
        return None

    def _is_new(self, text: str, used: set[str]) -> bool:
        """Whether a copy may have this text; if so, no other may have it any more."""
        if text in used or normalize_text(text) in self.held_out:
            return False
        used.add(text)
        return True


def reworded(record: Record, copy_id: str, text: str, how: str) -> Record:
    """A copy of a record with another text and neither sound nor picture.

    Args:
      copy_id: id of the copy.
      text: of the copy.
      how: what made it, for its attributes.
    """
    attributes = {**record.attributes, "copy_of": record.id, REWORDED_BY: how}
    if attributes.get(TEXT_HASH):
        attributes[TEXT_HASH] = text_hash(text)
    return replace(
        record,
        id=copy_id,
        transcript=text,
        waveform=np.zeros(0, np.int16),
        faces=np.zeros((0,) * record.faces.ndim, record.faces.dtype),
        face_mask=np.zeros(0, bool),
        frame_times_s=np.zeros(0, np.float32),
        boxes_px=np.zeros((0, 4), np.float32),
        audio_hash="",
        video_hash="",
        detector="",
        num_frames=0,
        attributes=attributes,
    )
