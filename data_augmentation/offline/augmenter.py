"""Transformed copies of one record, for training only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import (
    Chain,
    SampledTransforms,
    parse_transforms,
    transforms_of_stream,
)
from affectstream.data_augmentation.offline.back_translation import BackTranslator
from affectstream.data_augmentation.offline.text_augmenter import RejectedTranslation, TextAugmenter
from affectstream.data_augmentation.transform import Parameters
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.pcm import from_pcm, to_pcm
from affectstream.preprocessing.records.record import Record

# Draws until one changes the clip: with a single transform of chance 0.5, 1 in 10^19 never does.
MAX_DRAWS = 64
AUGMENTABLE_STREAMS = ("audio", "video", "text")


@dataclass(frozen=True)
class AugmentedCopy:
    """One transformed copy.

    Attributes:
      record: with the label, speaker, recording, times and boxes of its clip.
      applied: stream -> (name, parameters) of each audio and video transform that was applied, in
        order; a text copy stores it in its attributes.
      is_text: other words without sound and picture.
    """

    record: Record
    applied: dict[str, list[tuple[str, Parameters]]]
    is_text: bool = False

    def row(self, original: ClipRow, shard: str) -> ClipRow:
        """Its row of `clips.csv`."""
        own = self.record.row(shard)
        return own if self.is_text else replace(own, transcript=original.transcript)


@dataclass(frozen=True)
class Augmenter:
    """Makes copies; what is drawn depends on (seed, copy number, record id) only.

    A copy has either transformed audio and video with the original text, or another text and
    neither audio nor video.

    Attributes:
      chains: stream -> its transforms, for audio and video; a stream without any is omitted.
      texts: makes the copies with other words.
    """

    chains: dict[str, Chain]
    texts: TextAugmenter = field(default_factory=TextAugmenter)

    @classmethod
    def parse(
        cls,
        transforms: str,
        seed: int,
        back_translator: BackTranslator | None = None,
        held_out: frozenset[str] = frozenset(),
    ) -> Augmenter:
        """From recipe text.

        Args:
          transforms: as `parse_transforms` takes them; may be empty beside `back`.
          seed: of the run.
          back: gives paraphrases too.
          held_out: see `TextAugmenter`.
        Raises:
          UserError: an unknown transform, one that works inside training only, or none.
        """
        parsed = parse_transforms(transforms)
        names = (word.partition(":")[0].strip() for word in transforms.split(","))
        inside = [
            n for n, t in zip(names, parsed, strict=False) if t.stream not in AUGMENTABLE_STREAMS
        ]
        if inside:
            raise UserError(
                f"{', '.join(inside)}: works inside training and cannot be written into records;"
                " give it to `train --set transforms=...`"
            )
        if not any(transform.probability for transform in parsed) and (
            parsed or back_translator is None
        ):
            rows = registry.TABLE["transforms"].items()
            known = [name for name, row in rows if row.stream in AUGMENTABLE_STREAMS]
            raise UserError(f"no transform that ever applies; known: {', '.join(known)}")
        chains = {
            stream: Chain(transforms_of_stream(parsed, stream), seed)
            for stream in AUGMENTABLE_STREAMS
        }
        chains = {stream: chain for stream, chain in chains.items() if chain.transforms}
        texts = TextAugmenter(chains.pop("text", None), back_translator, held_out)
        return cls(chains, texts)

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams that are changed."""
        return (*self.chains, *(("text",) if self.texts.max_num_copies(1) else ()))

    def max_num_copies(self, row: ClipRow, num_copies: int) -> int:
        """Copies of one clip when each comes out."""
        has_signal = bool(set(row.streams) & set(self.chains))
        has_words = bool(row.transcript.strip())
        return num_copies * has_signal + self.texts.max_num_copies(num_copies) * has_words

    def copies(
        self, record: Record, row: ClipRow, num_copies: int
    ) -> Iterator[AugmentedCopy | RejectedTranslation | None]:
        """Yields `num_wanted` results: a copy, None where none came out, or a refusal.

        Args:
          record: the clip.
          row: its row, which says what streams it has.
          num_copies: number of audio and video copies, and of copies of each text by transforms.
        Raises:
          TranslatorUnavailable: the translator cannot be had now.
        """
        if set(row.streams) & set(self.chains):
            for number in range(1, num_copies + 1):
                yield self.copy(record, number)
        if row.transcript.strip():
            told = replace(record, transcript=row.transcript)
            for made in self.texts.copies(told, num_copies):
                yield AugmentedCopy(made, {}, is_text=True) if isinstance(made, Record) else made

    def copy(self, record: Record, number: int) -> AugmentedCopy | None:
        """The `number`-th audio and video copy, from 1; None if no draw changes them.

        A frame without a face stays blank. An unchanged stream keeps its hash.
        """
        for draw in range(MAX_DRAWS if self.chains else 0):
            key = (number, f"{record.id}#{draw}" if draw else record.id)
            waveform, heard = self._audio(record, key)
            faces, seen = self._video(record, key)
            new_audio = not np.array_equal(waveform, record.waveform)
            new_video = not np.array_equal(faces, record.faces)
            if new_audio or new_video:
                changed: dict[str, Any] = {
                    "id": f"{record.id}+copy{number}",
                    "waveform": waveform,
                    "faces": faces,
                    "attributes": {**record.attributes, "copy_of": record.id},
                }
                if new_audio:
                    changed["audio_hash"] = content_hash(waveform.tobytes())
                if new_video:
                    changed["video_hash"] = content_hash(faces.tobytes())
                applied = {"audio": _applied(heard), "video": _applied(seen)}
                return AugmentedCopy(replace(record, **changed), applied)
        return None

    def _audio(self, record: Record, key: tuple[int, str]) -> tuple[np.ndarray, SampledTransforms]:
        chain = self.chains.get("audio")
        if chain is None or not record.waveform.size:
            return record.waveform, []
        waveform = from_pcm(record.waveform)
        drawn = chain.sample_all(waveform, record.sample_rate_hz, key)
        return to_pcm(chain.apply_all(waveform, record.sample_rate_hz, drawn)), drawn

    def _video(self, record: Record, key: tuple[int, str]) -> tuple[np.ndarray, SampledTransforms]:
        chain = self.chains.get("video")
        if chain is None or not record.face_mask.any():
            return record.faces, []
        found = record.faces[record.face_mask]
        drawn = chain.sample_all(found, None, key)
        faces = record.faces.copy()
        faces[record.face_mask] = chain.apply_all(found, None, drawn)
        return faces, drawn


def _applied(drawn: SampledTransforms) -> list[tuple[str, Parameters]]:
    return [(name, parameters) for name, parameters in drawn if parameters is not None]
