"""A feature table as data: one row per clip; training and scoring need no recordings."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import atomic_io, lfs_pointer, storage_paths
from affectstream.core.errors import UserError, format_names, from_os_error
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.corpora.csv_table import delimiter_of
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, Splits
from affectstream.preprocessing.dataset.splits import DEFAULT_RULE, make_splits
from affectstream.preprocessing.labels import CANONICAL_LABELS

METADATA_COLUMNS = ("clip", "speaker", "recording", "label", "split")
SUFFIXES = (".csv", ".parquet")
# Key of the sidecar file: clip -> `ClipRow.attributes`.
_ATTRIBUTES = "attributes"
# Metadata of a table without a sidecar file; tables of this program have one (`NAME.json`).
_UNKNOWN: dict[str, Any] = {
    "corpus": "table",
    "licence": "your own",
    "citation": "",
    "synthetic": False,
    "preparation": {},
}


@dataclass(frozen=True, kw_only=True)
class TableRow(ClipRow):
    """One row: metadata of a clip; its features are in the table.

    Attributes:
      stream: the stream of the features; several are joined with +.
    """

    stream: str = "audio"

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(self.stream.split("+"))


@dataclass(frozen=True)
class FeatureTable(DataFolder):
    """A feature table in memory.

    Attributes:
      path: path of the file.
      origin: content of the sidecar file: `features`; for text also `front_end` and `words`, the
        reason why the text is uninformative.
      names: names of the columns of `values`.
      values: (rows, features) float32, in the order of `rows`.
    """

    provenance: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def text_uninformative_reason(self) -> str:
        return str(self.provenance.get("words", ""))

    def content(self) -> list[Any]:
        return [*super().content(), content_hash(self.values.tobytes()), self.provenance]

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """(rows, len(names)) float32.

        Raises:
          UserError: a column is missing.
        """
        place = {name: i for i, name in enumerate(self.names)}
        if missing := [name for name in names if name not in place]:
            raise UserError(
                f"{self.path}: no column {format_names(missing)}; write the table again"
                " with `features`, or choose other features (--set features=NAME)"
            )
        return self.values[:, [place[name] for name in names]]


def is_feature_table(path: Path) -> bool:
    """Whether the name of `path` is that of a feature table."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def stored_features_name(path: Path) -> str:
    """Name of the front end that wrote the table; "" if unknown."""
    if not _origin(path).is_file():
        return ""
    return str(atomic_io.read_json(_origin(path)).get("features", ""))


# === Writing ===


@dataclass(frozen=True)
class FeatureOrigin:
    """How the features of a table were computed.

    Attributes:
      features: name of the front end.
      front_end: fields of a fitted front end, so that a model can be built on the table.
      text_uninformative_reason: why the text does not predict the label; "" if it does.
    """

    features: str
    front_end: Mapping[str, Any] | None = None
    text_uninformative_reason: str = ""


def write_feature_table(
    path: Path,
    names: Sequence[str],
    rows: Sequence[tuple[ClipRow, np.ndarray]],
    folder: DataFolder,
    made_by: FeatureOrigin,
) -> None:
    """Writes a table (`.csv` or `.parquet`) and a sidecar file `NAME.json`. The sidecar holds the
    provenance of the table and the attributes of each clip (sex, session, id of the source clip).

    Args:
      names: names of the features.
      rows: for each clip its metadata and its (features,) values.
      folder: source of the records.
      made_by: stored in the sidecar file.
    Raises:
      UserError: another suffix, or the file cannot be written.
    """
    facts = metadata_cells([row for row, _ in rows], folder)
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, names, facts, np.stack([values for _, values in rows]))
    elif path.suffix.lower() == ".csv":
        columns = (*METADATA_COLUMNS, *names)
        table = (
            dict(zip(columns, [*known, *(f"{v:.9g}" for v in values)], strict=True))
            for known, (_, values) in zip(facts, rows, strict=True)
        )
        atomic_io.write_csv(path, columns, table)
    else:
        raise UserError(f"{path}: a feature table ends in {' or '.join(SUFFIXES)}; rename --out")
    known = {key: folder.settings[key] for key in _UNKNOWN}
    origin = {
        "features": made_by.features,
        "notes": folder.splits.notes,
        "rule": folder.splits.rule,
    }
    attributes = {row.id: row.attributes for row, _ in rows if row.attributes}
    origin |= {_ATTRIBUTES: attributes} if attributes else {}
    if made_by.front_end is not None:
        reason = made_by.text_uninformative_reason
        origin |= {"front_end": dict(made_by.front_end), "words": reason}
    atomic_io.write_json(_origin(path), known | origin)


def metadata_cells(rows: Sequence[ClipRow], folder: DataFolder) -> list[list[str]]:
    """The cells of `METADATA_COLUMNS` for each clip of a data folder."""
    split_of = {id: split for split, ids in folder.splits.parts.items() for id in ids}
    return [
        [row.id, row.speaker, row.recording, row.label, split_of.get(row.id, "")] for row in rows
    ]


def _write_parquet(
    path: Path, names: Sequence[str], facts: list[list[str]], values: np.ndarray
) -> None:
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = dict(
        zip(METADATA_COLUMNS, map(list, zip(*facts, strict=True)), strict=True)
    )
    columns |= {name: values[:, i] for i, name in enumerate(names)}
    with atomic_io.atomic_write(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _origin(path: Path) -> Path:
    return path.with_name(path.name + ".json")


# === Reading ===


def open_feature_table(path: Path, sample_rate_hz: int, stream: str = "audio") -> FeatureTable:
    """Reads a table written by `features` or another program.

    If the column `split` is empty, the rows are divided by speaker, as in `preprocess`.

    Args:
      sample_rate_hz: of the audio that the features were computed from.
      stream: the stream of the features.
    Raises:
      UserError: absent, unreadable, without a required column, or with a value that is not a
        number.
    """
    names, facts, values = _read(path)
    origin: dict[str, Any] = atomic_io.read_json(_origin(path)) if _origin(path).is_file() else {}
    attributes = origin.pop(_ATTRIBUTES, {})
    rows = tuple(
        TableRow(
            id=known["clip"],
            path=known["clip"],
            corpus=known["speaker"].partition("/")[0],
            label=known["label"],
            speaker=known["speaker"],
            recording=known["recording"] or known["clip"],
            # Repeated utterances of the same text are not duplicates.
            audio_hash="" if stream == "text" else content_hash(one.tobytes()),
            split=known["split"],
            attributes=attributes.get(known["clip"], {}),
            stream=stream,
        )
        for known, one in zip(facts, values, strict=True)
    )
    _require_usable(path, rows)
    settings = {key: origin[key] for key in _UNKNOWN} if origin else dict(_UNKNOWN)
    preparation = {**settings["preparation"], "sample_rate_hz": sample_rate_hz}
    preparation.setdefault("face", {"size_px": 0, "color": "grey"})
    settings |= {"preparation": preparation, "sample_rate_hz": sample_rate_hz}
    return FeatureTable(path, rows, table_splits(rows, origin), settings, origin, names, values)


def _read(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]], np.ndarray]:
    """Feature names, metadata of each row, (rows, features) float32."""
    lfs_pointer.require_not_pointer(path)
    reader = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    try:
        header, cells = reader(path)
    except OSError as error:
        raise from_os_error(error, path) from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a readable table ({error}); write it again") from error
    if missing := [name for name in ("clip", "label") if name not in header]:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; a feature table has the columns"
            f" {', '.join(METADATA_COLUMNS)} and then the features"
        )
    names = tuple(name for name in header if name not in METADATA_COLUMNS)
    facts, values = [], []
    for number, row in enumerate(cells, start=2):
        facts.append({name: str(row.get(name) or "") for name in METADATA_COLUMNS})
        try:
            values.append([float(row[name]) for name in names])
        except (TypeError, ValueError):
            raise UserError(f"{path}, line {number}: not {len(names)} numbers; mend it") from None
    if not values or not names:
        raise UserError(f"{path}: no row or no feature in it; write it again with `features`")
    return names, facts, np.array(values, np.float32)


def _read_csv(path: Path) -> tuple[tuple[str, ...], Iterator[dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter = delimiter_of([file.readline()], ("clip", "label"))
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter)
        return tuple(reader.fieldnames or ()), iter(list(reader))


def _read_parquet(path: Path) -> tuple[tuple[str, ...], Iterator[dict[str, Any]]]:
    import pyarrow.parquet

    with storage_paths.open_binary(path) as file:
        table = pyarrow.parquet.read_table(file)
    return tuple(table.column_names), iter(table.to_pylist())


def _require_usable(path: Path, rows: Sequence[TableRow]) -> None:
    checks: dict[str, tuple[Callable[[TableRow], bool], str]] = {
        "label": (
            lambda row: row.label in CANONICAL_LABELS,
            f"one of {', '.join(CANONICAL_LABELS)}",
        ),
        "split": (lambda row: row.split in ("", *SPLITS), f"one of {', '.join(SPLITS)}, or empty"),
    }
    for number, row in enumerate(rows, start=2):
        for column, (fits, wanted) in checks.items():
            if not fits(row):
                raise UserError(
                    f"{path}, line {number}: {column} {getattr(row, column)!r}; must be {wanted}"
                )
    clip, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: clip {clip!r} occurs {count} times; keep one row")


def table_splits(rows: Sequence[TableRow], origin: dict[str, Any]) -> Splits:
    """Splits from the column `split`; by the default rule if the column is empty."""
    if not any(row.split for row in rows):
        return make_splits(rows, DEFAULT_RULE)
    parts = {split: tuple(row.id for row in rows if row.split == split) for split in SPLITS}
    rule = origin.get("rule", {"kind": "table"})
    return Splits(parts, rule, tuple(origin.get("notes", ())))
