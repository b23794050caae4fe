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
      path, name: the file, and its displayed name.
      start_s, end_s: start and end of the clip in that file.
      half: "left" or "right" half of each image; "" for the whole image.
    """

    path: Path
    name: str
    start_s: float
    end_s: float
    half: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMetadata:
    """Metadata of a clip from its corpus, shared by the clip, its records and their table rows.

    Attributes:
      corpus: name of the corpus.
      label: a canonical label (`affectstream.preprocessing.labels.CANONICAL_LABELS`).
      speaker: "corpus/speaker", or "" if unknown.
      recording: "corpus/recording"; the same for every file of one recording.
      transcript: transcript, "" if unknown.
      split: official split ("train", "validation", "test"), or "".
      attributes: further metadata of the corpus (sex, intensity, ...).
    """

    corpus: str
    label: str
    speaker: str
    recording: str
    transcript: str = ""
    split: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    def metadata(self, kind: type[ClipMetadata]) -> dict[str, Any]:
        """Field name -> value for the fields that `kind` has, to pass them to the next stage."""
        return {one.name: getattr(self, one.name) for one in fields(kind)}


@dataclass(frozen=True, slots=True)
class Clip(ClipMetadata):
    """One labelled segment of one media file.

    Attributes:
      path: the media file, or the archive or table that contains it.
      name: displayed and sorted path: relative to the corpus folder, separated by `/`.
      inner: member of an archive, or byte offset of a row in a table; "" for a separate file.
      start_s, end_s: bounds of the segment; `end_s` None means to the end.
      pictures: video file of the clip; None if the video is in `path`.
      text_only: the clip has only `transcript`, no audio and no video; `path` is the table.
      expected_duration_s: duration of the file in the corpus's tables; None if they lack it.
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
    """An unusable file, and the reason (one line with the remedy)."""

    path: str
    reason: str


@dataclass(frozen=True)
class CorpusIndex:
    """Clips that a corpus found at a source.

    Attributes:
      clips: sorted by `key`.
      rejected: files that belong to the corpus but cannot be used.
      skipped: counts by reason of intentionally excluded files (song, siblings of one recording).
      ignored_suffixes: counts by suffix of files that the corpus does not read.
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
        """Sorts the clips, and omits reasons with a count of 0."""
        ordered = sorted(clips, key=lambda clip: clip.key)
        counted = +Counter(skipped or {})
        return cls(tuple(ordered), tuple(rejected), counted, Counter(ignored_suffixes or {}))
