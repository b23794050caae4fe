"""A clip: one labelled segment of one media file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

STREAMS = ("audio", "video", "text")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class CompanionVideo:
    """Video of a clip that is stored in another file than its audio.

    Attributes:
      path, name: the file, and how it is shown.
      start_s, end_s: start and end of the clip in that file.
      half: "left" or "right" half of each picture; "" for all of it.
    """

    path: Path
    name: str
    start_s: float
    end_s: float
    half: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMetadata:
    """What a corpus says of a clip; the clip, its records and their table rows all carry it.

    Attributes:
      corpus: name of the corpus.
      label: a canonical label (`affectstream.preprocessing.labels.CANONICAL_LABELS`).
      speaker: "corpus/speaker", or "" where the corpus knows none.
      recording: "corpus/recording"; the same for every file of one recording.
      transcript: what is said, "" where unknown.
      split: part of an official split ("train", "validation", "test"), or "".
      attributes: what else the corpus tells (sex, intensity, ...).
    """

    corpus: str
    label: str
    speaker: str
    recording: str
    transcript: str = ""
    split: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    def metadata(self, kind: type[ClipMetadata]) -> dict[str, Any]:
        """Field name -> value of the fields that `kind` has, for the next stage to carry on."""
        return {one.name: getattr(self, one.name) for one in fields(kind)}


@dataclass(frozen=True, slots=True)
class Clip(ClipMetadata):
    """One labelled stretch of one media file.

    Attributes:
      path: the media file, or the archive or table that holds it.
      name: path as shown and sorted by: relative to the corpus folder, `/` separated.
      inner: member of an archive, or byte offset of a row in a table; "" for a file of its own.
      start_s, end_s: the stretch; `end_s` None means to the end.
      pictures: where the pictures are, if not in the file itself; None where they are.
      text_only: the clip has only `transcript`, no audio and no video; `path` is the table.
      expected_duration_s: how long the file is by the corpus's tables; None where they do not tell.
      others: other files of the same recording, best first; read if the ones before fail.
    """

    path: Path
    name: str
    inner: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    pictures: CompanionVideo | None = None
    text_only: bool = False
    expected_duration_s: float | None = None
    others: tuple[Clip, ...] = ()

    @property
    def key(self) -> str:
        """Unique within a corpus and independent of directory order."""
        end = "" if self.end_s is None else f"{self.end_s:.9g}"
        stretch = f"@{self.start_s:.9g}-{end}" if self.start_s or end else ""
        return f"{self.name}{'!' + self.inner if self.inner else ''}{stretch}"


@dataclass(frozen=True)
class Rejection:
    """A file that cannot be used, and why (one line with the remedy)."""

    path: str
    reason: str


@dataclass(frozen=True)
class CorpusIndex:
    """What a corpus found at a source.

    Attributes:
      clips: sorted by `key`.
      rejected: files that belong to the corpus but cannot be used.
      skipped: counts by reason of what was left out on purpose (song, siblings of one recording).
      ignored_suffixes: counts by ending of files that this corpus is not read from.
    """

    clips: tuple[Clip, ...]
    rejected: tuple[Rejection, ...] = ()
    skipped: Counter[str] = field(default_factory=Counter)
    ignored_suffixes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        clips: Iterable[Clip],
        rejected: Iterable[Rejection],
        skipped: Mapping[str, int] | None = None,
        ignored_suffixes: Mapping[str, int] | None = None,
    ) -> CorpusIndex:
        """Sorts the clips, and leaves out reasons that were counted 0 times."""
        ordered = sorted(clips, key=lambda clip: clip.key)
        counted = +Counter(skipped or {})
        return cls(tuple(ordered), tuple(rejected), counted, Counter(ignored_suffixes or {}))
