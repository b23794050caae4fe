"""Leakage checks: compares speakers, recordings and content of training and test data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from affectstream.core.errors import UserError, format_names
from affectstream.preprocessing.corpora.manifest import is_manifest
from affectstream.preprocessing.dataset.data_folder import ClipRow


@dataclass(frozen=True)
class DataFootprint:
    """Speakers, recordings and content hashes of a set of records.

    Attributes:
      speakers: "corpus/speaker"; without unknown speakers.
      recordings: "corpus/recording".
      hashes: of decoded audio and video, and of texts that are records by themselves.
    """

    speakers: frozenset[str] = frozenset()
    recordings: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Iterable[ClipRow]) -> DataFootprint:
        rows = list(rows)
        return cls(
            frozenset(row.speaker for row in rows if row.speaker),
            frozenset(row.recording for row in rows),
            frozenset(h for row in rows for h in _hashes(row) if h),
        )

    def __or__(self, other: DataFootprint) -> DataFootprint:
        return DataFootprint(
            self.speakers | other.speakers,
            self.recordings | other.recordings,
            self.hashes | other.hashes,
        )

    def as_json(self) -> dict[str, list[str]]:
        return {
            "speakers": sorted(self.speakers),
            "recordings": sorted(self.recordings),
            "hashes": sorted(self.hashes),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DataFootprint:
        return cls(*(frozenset(value[key]) for key in ("speakers", "recordings", "hashes")))


def overlaps(
    trained_on: DataFootprint, rows: Iterable[ClipRow], compare_speakers: bool = True
) -> list[str]:
    """Describes what `rows` share with the training data; empty if they share nothing.

    Args:
      trained_on: data used in training, including every choice made on validation.
      rows: the records to be compared with it.
      compare_speakers: False if a split is marked as not speaker-disjoint.
    """
    rows = list(rows)
    held = DataFootprint.of(rows)
    descriptions = []
    if compare_speakers and (speakers := sorted(trained_on.speakers & held.speakers)):
        descriptions.append(f"speaker {format_names(speakers)}")
    if recordings := sorted(trained_on.recordings & held.recordings):
        descriptions.append(f"recording {format_names(recordings)}")
    if hashes := trained_on.hashes & held.hashes:
        same = sorted(row.id for row in rows if {*_hashes(row)} & hashes)
        descriptions.append(f"the content of {format_names(same)}")
    return descriptions


def shared_speaker_id_notes(speakers: Iterable[str]) -> tuple[str, ...]:
    """A note if speakers of several manifests have the same id, "corpus/id"; else empty.

    They are treated as different people; the program cannot know whether they are the same.
    """
    of_manifests: dict[str, set[str]] = {}
    for speaker in speakers:
        corpus, _, speaker_id = speaker.partition("/")
        if is_manifest(corpus):
            of_manifests.setdefault(speaker_id, set()).add(corpus)
    shared = sorted(speaker_id for speaker_id, corpora in of_manifests.items() if len(corpora) > 1)
    if not shared:
        return ()
    corpora = sorted({corpus for speaker_id in shared for corpus in of_manifests[speaker_id]})
    return (
        f"speaker {format_names(shared)} of {' and of '.join(corpora)} are taken for different"
        " people; if they are the same, prepare one of these with --same-speakers-as",
    )


def require_disjoint(found: list[str], sides: str, allow_leak: bool) -> bool:
    """Raises an error on an overlap unless `allow_leak`; returns whether there was one.

    Args:
      found: from `overlaps`.
      sides: names of the two sides, for the message.
    Raises:
      UserError: there is an overlap and `allow_leak` is False.
    """
    if found and not allow_leak:
        raise UserError(
            f"leak: {'; '.join(found)} on both sides ({sides});"
            " split by speaker (`split`), or --allow-leak to go on with a stamp on every result"
        )
    return bool(found)


def _hashes(row: ClipRow) -> tuple[str, ...]:
    return row.audio_hash, row.video_hash, row.text_hash
