"""Anybody's own recordings, told by a CSV table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import places
from errors import UserError, from_os_error, one_line
from preprocessing.clip import SPLITS, Clip, Inventory, Rejection
from preprocessing.corpora.csv_table import parse_csv
from preprocessing.labels import CANONICAL, canonical

REQUIRED = ("path", "label", "speaker")
OPTIONAL = ("start_s", "end_s", "transcript", "split", "recording")


@dataclass(frozen=True)
class ManifestCorpus:
    """A CSV: `path, label, speaker`, optionally `start_s, end_s, transcript, split, recording`.

    A row with an empty path and a transcript is a text of its own, without sound or picture.
    Paths are relative to the CSV and stay below its folder or are absolute on purpose; an empty
    `speaker` means unknown; any further column is kept as an attribute of the clip.
    """

    name: str = "manifest"
    citation: str = "the user's own"
    licence: str = "the user's own"
    synthetic: bool = False

    def inventory(self, source: Path) -> Inventory:
        """Reads the table; `source` is the CSV or a folder that holds `manifest.csv`.

        Raises:
          UserError: no such table, a required column missing, or no row in it.
        """
        table = source / "manifest.csv" if source.is_dir() else source
        rows = _read_table(table)
        clips: dict[str, Clip] = {}
        rejected: list[Rejection] = []
        for line, row in rows:
            try:
                clip = self._clip(table, line, row)
                if clip.key in clips:
                    raise UserError("this path and stretch stand in the table twice; keep one row")
            except UserError as error:
                reason = one_line(f"{row['path']}: {error}")
                rejected.append(Rejection(f"{table.name}:{line}", reason))
            else:
                clips[clip.key] = clip
        return Inventory(tuple(clips[key] for key in sorted(clips)), tuple(rejected))

    def _clip(self, table: Path, line: int, row: dict[str, str]) -> Clip:
        label = canonical(row["label"])
        if label is None:
            raise UserError(f"unknown label {row['label']!r}; known: {', '.join(CANONICAL)}")
        split = row.get("split", "")
        if split and split not in SPLITS:
            raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        text_only = not row["path"]
        if text_only:
            _require_text_alone(row)
        path = table if text_only else _resolve(table.parent, row["path"])
        name = table.name if text_only else row["path"].replace("\\", "/")
        own_recording = f"{name}:{line}" if text_only else name
        known = {*REQUIRED, *OPTIONAL}
        return Clip(
            path=path,
            name=name,
            corpus=self.name,
            label=label,
            speaker=f"{self.name}/{row['speaker']}" if row["speaker"] else "",
            recording=f"{self.name}/{row.get('recording') or own_recording}",
            inner=str(line) if text_only else "",
            start_s=_seconds(row.get("start_s", "")) or 0.0,
            end_s=_seconds(row.get("end_s", "")),
            transcript=row.get("transcript", ""),
            split=split,
            attributes={key: value for key, value in row.items() if key not in known and value},
            text_only=text_only,
        )


def _require_text_alone(row: dict[str, str]) -> None:
    if not row.get("transcript"):
        raise UserError(
            "empty path and no transcript; name a file relative to the table, or write the text"
            " into column transcript"
        )
    if row.get("start_s") or row.get("end_s"):
        raise UserError("start_s and end_s without a path; name the file or leave them empty")


def _resolve(folder: Path, text: str) -> Path:
    path = places.place(text)
    if places.is_url(text):
        return path
    if not places.is_remote(folder):
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
    except (OSError, ValueError) as error:  # the latter of a NUL
        told = getattr(error, "strerror", "") or error
        raise UserError(f"no file can have this path ({str(told).lower()}); correct it") from error


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"time {text!r} is not a number of seconds") from None
    if not 0 <= value < float("inf"):
        raise UserError(f"time {text!r} must be 0 or more seconds")
    return value


def _read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows as (number of their last line, {column: stripped text}).

    Raises:
      UserError: absent, not text, no CSV, a required column missing, or no row.
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
    return [(row.last_line, table.named(row)) for row in table.rows]


MANIFEST = ManifestCorpus()
