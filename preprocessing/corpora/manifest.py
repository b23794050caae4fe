"""A user's own recordings, listed in a CSV table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError, from_os_error, one_line
from affectstream.preprocessing.clip import SPLITS, Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.csv_table import parse_csv
from affectstream.preprocessing.labels import CANONICAL_LABELS, to_canonical_label

MANIFEST_PREFIX = "manifest"
# Allowed names; the name is part of ids and paths.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Number of recordings, and bytes of each, that are part of the digest of a manifest.
_NUM_HEADS, _HEAD_BYTES = 8, 1 << 20
REQUIRED = ("path", "label", "speaker")
OPTIONAL = ("start_s", "end_s", "transcript", "split", "recording")


@dataclass(frozen=True, kw_only=True)
class ManifestCorpus(Corpus):
    """A CSV: `path, label, speaker`, optionally `start_s, end_s, transcript, split, recording`.

    A row with an empty path and a transcript is a text without audio or video. Paths are relative
    to the CSV and stay below its folder, or are absolute. An empty `speaker` means unknown. Further
    columns are stored as attributes of the clip. Semicolons or tabs may separate the cells, and
    backslashes the folders in a path.

    Two manifests may call different people `01` and different files `a.wav`. So each has a name,
    which is part of the ids of its speakers, recordings and records; see `with_name`.

    Attributes:
      name: "manifest-NAME"; "manifest" before it has one.
      people: name of the corpus with the same speakers; "" if they are new.
    """

    people: str = ""

    @property
    def options(self) -> dict[str, str]:
        return {"people": self.people} if self.people else {}

    def with_name(self, source: Path, present: Mapping[str, Any] | None = None) -> ManifestCorpus:
        """This corpus with a name: its own, that of the data folder, or a digest of its content.

        The digest covers the table, in any row order, and its first recordings, because two tables
        with the same text may refer to different files.

        Args:
          present: `preprocess.json` of the data folder to be completed. Its name is kept if the
            table has got more rows.
        Raises:
          UserError: the table cannot be read.
        """
        if self.name != MANIFEST_PREFIX:
            return self
        if present is not None and is_manifest(str(present["corpus"])):
            people = self.people or present.get("corpus_options", {}).get("people", "")
            return replace(self, name=str(present["corpus"]), people=people)
        table = _table_of(source)
        rows = sorted(sorted(row.items()) for _, row in _read_table(table))
        paths = sorted({dict(row)["path"] for row in rows} - {""})[:_NUM_HEADS]
        content = [rows, [_head(table.parent, path) for path in paths]]
        return replace(self, name=manifest_name(atomic_io.digest(content)[:8]))

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the table; `source` is the CSV or a folder that contains `manifest.csv`.

        Raises:
          UserError: no such table, a required column missing, or no rows.
        """
        table = _table_of(source)
        rows = _read_table(table)
        clips: dict[str, Clip] = {}
        rejected: list[Rejection] = []
        for line, row in rows:
            try:
                clip = self._clip(table, line, row)
                if clip.key in clips:
                    raise UserError("this path and time range occur twice; keep one row")
            except UserError as error:
                reason = one_line(f"{row['path']}: {error}")
                rejected.append(Rejection(f"{table.name}:{line}", reason))
            else:
                clips[clip.key] = clip
        return CorpusIndex.of(clips.values(), rejected)

    def _clip(self, table: Path, line: int, row: dict[str, str]) -> Clip:
        label = to_canonical_label(row["label"])
        if label is None:
            raise UserError(f"unknown label {row['label']!r}; known: {', '.join(CANONICAL_LABELS)}")
        split = row.get("split", "")
        if split and split not in SPLITS:
            raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        text_only = not row["path"]
        if text_only:
            _require_text_alone(row)
        shown = _with_slashes(table.parent, row["path"])
        path = table if text_only else _resolve(table.parent, shown)
        name = table.name if text_only else shown
        own_recording = f"{name}:{line}" if text_only else name
        known = {*REQUIRED, *OPTIONAL}
        return Clip(
            path=path,
            name=name,
            corpus=self.name,
            label=label,
            speaker=f"{self.people or self.name}/{row['speaker']}" if row["speaker"] else "",
            recording=f"{self.name}/{row.get('recording') or own_recording}",
            inner=str(line) if text_only else "",
            start_s=_seconds(row.get("start_s", "")) or 0.0,
            end_s=_seconds(row.get("end_s", "")),
            transcript=row.get("transcript", ""),
            split=split,
            attributes={key: value for key, value in row.items() if key not in known and value},
            text_only=text_only,
        )


def manifest_name(name: str) -> str:
    """The name of a manifest in ids.

    Raises:
      UserError: characters that an id cannot have.
    """
    bare = name.removeprefix(f"{MANIFEST_PREFIX}-")
    if not _NAME.fullmatch(bare):
        raise UserError(
            f"--name {name!r}: give 1 to 64 letters of A-Z, digits, dots, - and _, a letter or"
            " digit first"
        )
    return f"{MANIFEST_PREFIX}-{bare}"


def is_manifest(corpus: str) -> bool:
    """Whether ids with the prefix `corpus` belong to a manifest."""
    return corpus == MANIFEST_PREFIX or corpus.startswith(f"{MANIFEST_PREFIX}-")


def _head(folder: Path, path: str) -> str:
    """A digest of the first bytes of a recording; "" if it cannot be read, which rejects it later.

    Raises:
      UserError: a store disconnects.
    """
    try:
        place = _resolve(folder, path.replace("\\", "/"))
    except UserError:
        return ""
    try:
        with storage_paths.open_binary(place) as file:
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:
        return ""


def _table_of(source: Path) -> Path:
    return source / "manifest.csv" if source.is_dir() else source


def _require_text_alone(row: dict[str, str]) -> None:
    if not row.get("transcript"):
        raise UserError(
            "empty path and no transcript; name a file relative to the table, or write the text"
            " into column transcript"
        )
    if row.get("start_s") or row.get("end_s"):
        raise UserError("start_s and end_s without a path; name the file or leave them empty")


def _with_slashes(folder: Path, text: str) -> str:
    """Converts a Windows path to slashes, unless a file with the original name exists."""
    slashed = text.replace("\\", "/")
    if slashed == text or storage_paths.is_remote(folder) or storage_paths.is_url(text):
        return text if storage_paths.is_url(text) else slashed
    try:
        return text if (folder / text).exists() else slashed
    except (OSError, ValueError):
        return slashed


def _resolve(folder: Path, text: str) -> Path:
    path = storage_paths.storage_path(text)
    if storage_paths.is_url(text):
        return path
    if not storage_paths.is_remote(folder):
        _require_possible(folder / path)
    if path.is_absolute():
        return path
    resolved = (folder / path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise UserError(
            "path leads out of the table's folder; use an absolute path if that is meant"
        )
    return resolved


def _require_possible(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        pass  # rejected when it is read
    except (OSError, ValueError) as error:  # the latter for a NUL
        reason = getattr(error, "strerror", "") or error
        raise UserError(
            f"no file can have this path ({str(reason).lower()}); correct it"
        ) from error


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        hint = f"; write {text.replace(',', '.')}" if "," in text else ""
        raise UserError(f"time {text!r} is not a number of seconds{hint}") from None
    if not 0 <= value < float("inf"):
        raise UserError(f"time {text!r} must be 0 or more seconds")
    return value


def _read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows as (number of their last line, {column: stripped text}).

    Raises:
      UserError: absent, not text, not a CSV, a required column missing, or no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise from_os_error(error, path) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text (byte {error.start + 1} is 0x{error.object[error.start]:02X});"
            " save it as UTF-8 CSV"
        ) from error
    table = parse_csv(path, text, REQUIRED)
    if not table.rows:
        raise UserError(f"{path}: no row under the header; list at least one recording")
    return [(row.last_line, table.row_as_dict(row)) for row in table.rows]


MANIFEST = ManifestCorpus(name=MANIFEST_PREFIX, citation="the user's own", licence="the user's own")
