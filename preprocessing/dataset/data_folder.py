"""A prepared corpus: `clips.csv`, `splits.json`, `rejected.csv`, `preprocess.json`, `shards/`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import SPLITS, ClipMetadata
from affectstream.preprocessing.content_hash import TEXT_HASH

if TYPE_CHECKING:  # importing OpenCV and numpy would slow down `--help`
    from affectstream.opencv_model.tracking import CropFormat
    from affectstream.preprocessing.faces.action_units import ActionUnitSpec

CLIPS_FILE = "clips.csv"
REJECTED_FILE = "rejected.csv"
SPLITS_FILE = "splits.json"
# Key in `splits.json`: SHA-256 of `clips.csv` at the time of the split.
_CLIPS_SHA256 = "clips_sha256"
_REMEDY = "run `split` again"
SETTINGS_FILE = "preprocess.json"
SHARDS_FOLDER = "shards"

# Columns with repeated values: each text is stored once in memory.
_SHARED = frozenset(("shard", "corpus", "label", "speaker", "split", "excluded"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMetadata(ClipMetadata):
    """Metadata of a record.

    Attributes:
      id: unique within a data folder.
      path: key of the clip; it names the source file.
      start_s, end_s: segment of that file.
      num_frames: analysed frames, with or without a face.
      audio_hash, video_hash: hash of the decoded content; "" if that stream is missing.
      attributes: attributes of the clip; "copy_of" is the id of the record that was augmented.
    """

    id: str
    path: str
    start_s: float = 0.0
    end_s: float = 0.0
    num_frames: int = 0
    audio_hash: str = ""
    video_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow(RecordMetadata):
    """One row of `clips.csv`: metadata of one record, readable without its shard.

    Attributes:
      shard: file name within `shards/`.
      num_faces: number of frames with a face, of `num_frames`.
      excluded: reason why training and evaluation skip the record, or "".
    """

    shard: str = ""
    num_samples: int = 0
    num_faces: int = 0
    excluded: str = ""

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams that the record has."""
        has = {"audio": self.num_samples, "video": self.num_faces, "text": self.transcript}
        return tuple(stream for stream, amount in has.items() if amount)

    @property
    def cluster(self) -> str:
        """Group of dependent records: one speaker, or one recording of an unknown speaker."""
        return self.speaker or f"recording {self.recording or self.id}"

    @property
    def text_hash(self) -> str:
        """Content hash of a text-only record, such as a post; "" for a transcript of speech."""
        return self.attributes.get(TEXT_HASH, "")

    @property
    def copy_of(self) -> str:
        """The record that this one is an augmented copy of, or ""; copies are only for training."""
        return self.attributes.get("copy_of", "")

    def as_cells(self) -> dict[str, Any]:
        """The row as CSV cells."""
        return {**asdict(self), "attributes": json.dumps(self.attributes, sort_keys=True)}

    @classmethod
    def from_cells(cls, cells: dict[str, str]) -> ClipRow:
        """Reads CSV cells back."""
        types: dict[str, Callable[[str], Any]] = {"start_s": float, "end_s": float}
        types |= {"num_samples": int, "num_frames": int, "num_faces": int, "attributes": json.loads}
        types |= dict.fromkeys(_SHARED, sys.intern)
        return cls(**{key: types.get(key, str)(value) for key, value in cells.items()})


# The id comes first, for readers of the table.
COLUMNS = ("id", *(field.name for field in fields(ClipRow) if field.name != "id"))


@dataclass(frozen=True)
class Splits:
    """The records of the training, validation and test splits.

    Attributes:
      parts: split name -> record ids, in the order of `clips.csv`.
      rule: the arguments that reproduce these splits.
      notes: remarks to print with every score ("validation not speaker-disjoint").
      folds: with `--folds`, the splits of each fold.
    """

    parts: dict[str, tuple[str, ...]]
    rule: dict[str, Any]
    notes: tuple[str, ...] = ()
    folds: tuple[dict[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class DataFolder:
    """A prepared corpus, read without opening its shards.

    Attributes:
      settings: arguments and results of `preprocess` (`preprocess.json`).
    """

    path: Path
    rows: tuple[ClipRow, ...]
    splits: Splits
    settings: dict[str, Any]

    @property
    def sample_rate_hz(self) -> int:
        return int(self.settings["sample_rate_hz"])

    @property
    def crop_format(self) -> CropFormat:
        from affectstream.opencv_model.tracking import CropFormat

        return CropFormat(**self.settings["preparation"]["face"])

    @property
    def action_units(self) -> ActionUnitSpec | None:
        """Contents of the video stream instead of face crops; None for face crops."""
        from affectstream.preprocessing.faces.action_units import ActionUnitSpec

        kind = self.settings["preparation"].get("action_units")
        return None if kind is None else ActionUnitSpec.from_json(kind)

    @property
    def synthetic(self) -> bool:
        return bool(self.settings["synthetic"])

    @property
    def text_uninformative_reason(self) -> str:
        """Reason why the text is uninformative, if it was measured before; else ""."""
        return ""

    def content(self) -> list[Any]:
        """JSON value that identifies the data: id, label, hashes and transcript of each row."""
        keys = ("id", "label", "audio_hash", "video_hash", "transcript")
        return [[getattr(row, key) for key in keys] for row in self.rows]

    def subset(self, split: str) -> tuple[ClipRow, ...]:
        """Rows of one split, or, for "all", every row but augmented copies; never excluded rows."""
        usable = [row for row in self.rows if not row.excluded]
        if split == "all":
            return tuple(row for row in usable if not row.copy_of)
        ids = set(self.splits.parts.get(split, ()))
        return tuple(row for row in usable if row.id in ids)

    def shard_paths(self, rows: Iterable[ClipRow]) -> list[Path]:
        """The shards that hold `rows`, in order."""
        return [self.path / SHARDS_FOLDER / name for name in sorted({row.shard for row in rows})]


def write_splits(folder: Path, splits: Splits) -> None:
    """Writes `splits.json` with a checksum of itself and one of `clips.csv`."""
    value: dict[str, Any] = {"rule": splits.rule, "notes": splits.notes, **splits.parts}
    if splits.folds:
        value["folds"] = splits.folds
    value[_CLIPS_SHA256] = atomic_io.file_sha256(folder / CLIPS_FILE)
    atomic_io.write_checksummed_json(folder / SPLITS_FILE, value)


def require_unchanged_clips(folder: Path) -> None:
    """Checks that `clips.csv` has not changed since `splits.json` was made.

    Raises:
      UserError: names the file that must be created again.
    """
    written = atomic_io.read_checksummed_json(folder / SPLITS_FILE, _REMEDY)[_CLIPS_SHA256]
    if written != atomic_io.file_sha256(folder / CLIPS_FILE):
        raise UserError(
            f"{folder / CLIPS_FILE}: not what was written (damaged, or changed by hand); run"
            " `preprocess` again"
        )


def read_splits(folder: Path) -> Splits:
    """Reads `splits.json`.

    Raises:
      UserError: absent or damaged.
    """
    value = atomic_io.read_checksummed_json(folder / SPLITS_FILE, _REMEDY)
    try:
        parts = {split: tuple(value[split]) for split in SPLITS}
        folds = tuple({s: tuple(fold[s]) for s in SPLITS} for fold in value.get("folds", ()))
        return Splits(parts, value["rule"], tuple(value["notes"]), folds)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / SPLITS_FILE}: not a split file ({error}); run `split` again"
        ) from error


def write_rows(folder: Path, rows: Iterable[ClipRow]) -> None:
    """Writes `clips.csv`."""
    atomic_io.write_csv(folder / CLIPS_FILE, COLUMNS, (row.as_cells() for row in rows))


def read_rows(folder: Path) -> tuple[ClipRow, ...]:
    """Reads `clips.csv`.

    Raises:
      UserError: absent, or with other columns than this version's.
    """
    try:
        with (folder / CLIPS_FILE).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UserError(
                    f"{folder / CLIPS_FILE}: other columns; run `preprocess --overwrite`"
                )
            return tuple(ClipRow.from_cells(cells) for cells in reader)
    except OSError as error:
        raise from_os_error(error, folder / CLIPS_FILE) from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{folder / CLIPS_FILE}: damaged ({error}); run `preprocess` again"
        ) from error


def is_data_folder(path: Path) -> bool:
    """Whether `path` holds a prepared corpus."""
    return (path / CLIPS_FILE).is_file() and (path / SETTINGS_FILE).is_file()


def require_data_folder(path: Path) -> None:
    """Raises UserError unless `path` holds a prepared corpus."""
    if not is_data_folder(path):
        raise UserError(f"{path}: not a prepared corpus (no {CLIPS_FILE}); run `preprocess` first")


def open_data_folder(path: str | Path) -> DataFolder:
    """Opens a prepared corpus.

    Raises:
      UserError: not a data folder, or damaged.
    """
    folder = storage_paths.storage_path(path)
    require_data_folder(folder)
    require_unchanged_clips(folder)
    return DataFolder(folder, read_rows(folder), read_splits(folder), read_settings(folder))


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads `preprocess.json`.

    Raises:
      UserError: absent or damaged.
    """
    remedy = "prepare it again (`preprocess --overwrite`, or `augment` into another folder)"
    settings: dict[str, Any] = atomic_io.read_checksummed_json(folder / SETTINGS_FILE, remedy)
    return settings


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes `preprocess.json`."""
    atomic_io.write_checksummed_json(folder / SETTINGS_FILE, settings)
