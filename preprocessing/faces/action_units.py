"""Facial action units as the video stream: OpenFace tables, joined to recordings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from affectstream.core.errors import UserError, format_names
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.file_kinds import MEDIA_SUFFIXES, STILL_IMAGE_SUFFIXES

OPENFACE = "openface"
MEDIAPIPE = "mediapipe"
# Columns that may hold the recording's id; the first one present is used.
ID_COLUMNS = ("name", "clip", "path", "file", "filename", "id")

_FILE_SUFFIXES = MEDIA_SUFFIXES | STILL_IMAGE_SUFFIXES | {".csv"}


@dataclass(frozen=True)
class ActionUnitSpec:
    """Source and names of the values in an action-unit video stream.

    Attributes:
      source: "openface" or "mediapipe".
      names: names of the values, in column order.
    """

    source: str
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "names": list(self.names)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ActionUnitSpec:
        return cls(value["source"], tuple(value["names"]))


@dataclass(frozen=True)
class ActionUnitTrack:
    """Action units of one recording.

    Attributes:
      values: (rows, names) float32; zeros where `mask` is False.
      mask: (rows,) bool, False where OpenFace found no face.
      times_s: (rows,) float64 from the start of the file, ascending; None for one row that is the
        mean of the whole recording.
    """

    values: np.ndarray
    mask: np.ndarray
    times_s: np.ndarray | None = None

    def slice_time(self, start_s: float, end_s: float) -> ActionUnitTrack:
        """Rows between two times. A track with one mean row returns that row for any times."""
        if self.times_s is None:
            return replace(self, times_s=np.array([start_s]))
        inside = (self.times_s >= start_s) & (self.times_s < end_s)
        return ActionUnitTrack(self.values[inside], self.mask[inside], self.times_s[inside])

    @property
    def digest(self) -> str:
        """Hash of the content, 32 hex digits."""
        times = b"mean" if self.times_s is None else self.times_s.tobytes()
        return content_hash(self.values.tobytes(), self.mask.tobytes(), times)


# === Table ===


@dataclass(frozen=True)
class ActionUnitTable:
    """Action units of some recordings.

    Attributes:
      path: source file or folder.
      names: columns of each track.
      tracks: id without file suffix -> its rows.
      id_from: source of the ids: a column, or "the file name".
    """

    path: Path
    names: tuple[str, ...]
    tracks: dict[str, ActionUnitTrack]
    id_from: str
    _by_stem: dict[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_stem = defaultdict(list)
        for name in sorted(self.tracks):
            by_stem[PurePosixPath(name).name].append(name)
        object.__setattr__(self, "_by_stem", dict(by_stem))

    def select(self, names: Sequence[str]) -> ActionUnitTable:
        """The table with exactly these columns, in this order.

        Raises:
          UserError: a column is missing.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise UserError(
                f"{self.path}: lacks {format_names(missing)}, which the model was trained on; write"
                " it with the same options of OpenFace"
            )
        order = [self.names.index(name) for name in names]
        tracks = {k: replace(t, values=t.values[:, order]) for k, t in self.tracks.items()}
        return ActionUnitTable(self.path, tuple(names), tracks, self.id_from)

    def find(
        self, name: str, pattern: re.Pattern[str] | None = None, stem_is_unique: bool = True
    ) -> ActionUnitTrack | None:
        """The rows of one recording, or None.

        A row matches by path without suffix, by file name without suffix, or by the recording that
        the corpus's file-name pattern reads from both names (RAVDESS: all fields but the first).
        """
        bare = strip_media_suffix(name)
        if bare in self.tracks:
            return self.tracks[bare]
        stem = PurePosixPath(bare).name
        same = self._by_stem.get(stem, [])
        if stem_is_unique and len(same) == 1:
            return self.tracks[same[0]]
        match = pattern.fullmatch(stem) if pattern is not None else None
        if match is None or pattern is None:
            return None
        for other, names in self._by_stem.items():
            if other.endswith(match["recording"]):
                found = pattern.fullmatch(other)
                if found is not None and found["recording"] == match["recording"]:
                    return self.tracks[names[0]]
        return None

    def join(
        self, clips: Sequence[Clip], pattern: re.Pattern[str] | None
    ) -> dict[str, ActionUnitTrack]:
        """Clip key -> its rows, for the clips that have any.

        Raises:
          UserError: no row matches any clip.
        """
        by_recording = self._renamed(pattern)
        recordings = defaultdict(set)
        for clip in clips:
            recordings[PurePosixPath(strip_media_suffix(clip.inner or clip.name)).name].add(
                clip.recording
            )
        joined = {}
        for clip in clips:
            name = clip.inner or clip.name
            unique = len(recordings[PurePosixPath(strip_media_suffix(name)).name]) == 1
            track = self.find(name, None, unique)
            if track is None:
                track = by_recording.get(clip.recording.partition("/")[2])
            if track is not None:
                joined[clip.key] = track
        if clips and not joined:
            raise UserError(
                f"{self.path}: no row fits a recording (ids are read from {self.id_from}, like"
                f" {next(iter(self.tracks))!r}; the recordings are like {clips[0].name!r}); give"
                f" the table of these recordings, its ids in a column {' or '.join(ID_COLUMNS)}"
            )
        return joined

    def _renamed(self, pattern: re.Pattern[str] | None) -> dict[str, ActionUnitTrack]:
        """Tracks by the recording that a corpus's pattern reads from their ids."""
        if pattern is None:
            return {}
        matches = {name: pattern.fullmatch(PurePosixPath(name).name) for name in self.tracks}
        return {m["recording"]: self.tracks[name] for name, m in matches.items() if m is not None}


def strip_media_suffix(name: str) -> str:
    """A path with `/` and without the suffix of a media file or table."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in _FILE_SUFFIXES else path)
