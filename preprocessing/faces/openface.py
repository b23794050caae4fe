"""Reads OpenFace tables of facial action units."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from affectstream.core.errors import UserError, format_names, from_os_error
from affectstream.preprocessing.corpora.csv_table import delimiter_of, require_no_pointer
from affectstream.preprocessing.corpora.media_files import list_folder
from affectstream.preprocessing.faces.action_units import (
    ID_COLUMNS,
    ActionUnitTable,
    ActionUnitTrack,
    strip_media_suffix,
)

FRAME_COLUMNS = ("frame", "timestamp")

_ACTION_UNIT = re.compile(r"AU\d\d_[rc]")


def read_action_units(path: Path) -> ActionUnitTable:
    """Reads an OpenFace table, or a folder of tables with one recording each.

    Columns are `AU01_r` ... (intensity, 0 to 5) and `AU01_c` ... (presence, 0 or 1); the names may
    have blanks around them, and `,`, `;` or a tab separates them. With a column `frame` or
    `timestamp`, a row is a frame: `timestamp` in seconds is required, rows without `success` are
    masked, and of several faces the one with the lowest `face_id` is used. Otherwise a row is a
    whole recording.

    Raises:
      UserError: absent, a folder in it that cannot be entered, without action units, or with
        ambiguous rows.
    Source: Baltrusaitis et al. 2018, "OpenFace 2.0: Facial Behavior Analysis Toolkit".
    """
    if not path.is_dir():
        return _read_file(path)
    listing = list_folder(path)
    if listing.rejected:
        raise UserError(listing.rejected[0].reason)
    files = listing.with_suffixes((".csv",))
    if not files:
        raise UserError(f"{path}: no .csv in this folder; give the folder that OpenFace wrote")
    tables = [_read_file(file) for file in files]
    tracks: dict[str, ActionUnitTrack] = {}
    for file, table in zip(files, tables, strict=True):
        if table.names != tables[0].names:
            raise UserError(f"{file}: other action units than {files[0]}; write all tables alike")
        if twice := sorted(tracks.keys() & table.tracks.keys()):
            raise UserError(f"{file}: a second table of {format_names(twice)}; leave one out")
        tracks |= table.tracks
    return ActionUnitTable(path, tables[0].names, tracks, tables[0].id_from)


def _read_file(path: Path) -> ActionUnitTable:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            require_no_pointer(path, first)
            file.seek(0)
            header, *rows = csv.reader(file, delimiter=delimiter_of([first]))
    except OSError as error:
        raise from_os_error(error, path) from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(f"{path}: not a table ({error}); give the CSV that OpenFace wrote") from (
            error
        )
    return _Reader(path, [name.strip() for name in header], rows).table()


class _Reader:
    """Converts the rows of one file to tracks."""

    def __init__(self, path: Path, header: list[str], rows: list[list[str]]) -> None:
        self._path = path
        self._rows = [(line, cells) for line, cells in enumerate(rows, 2) if cells]
        self._place = {name.lower(): i for i, name in reversed(list(enumerate(header)))}
        self._units = [name for name in header if _ACTION_UNIT.fullmatch(name)]
        self._places = [header.index(name) for name in self._units]
        self._width = len(header)
        if not self._units or not self._rows:
            lack = (
                "no row below its header" if self._units else "no column AU01_r, AU01_c ... in it"
            )
            raise UserError(f"{path}: {lack}; give the CSV that OpenFace wrote")

    def table(self) -> ActionUnitTable:
        per_frame = any(name in self._place for name in FRAME_COLUMNS)
        if per_frame and "timestamp" not in self._place:
            raise UserError(
                f"{self._path}: one row per frame but no column timestamp; write it with OpenFace's"
                " FeatureExtraction, or give one row per recording"
            )
        column = next((name for name in ID_COLUMNS if name in self._place), None)
        if column is None and not per_frame and len(self._rows) > 1:
            raise UserError(
                f"{self._path}: {len(self._rows)} rows but no column with the recording's id; add a"
                f" column {' or '.join(ID_COLUMNS)}"
            )
        members: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
        for line, cells in self._rows:
            if len(cells) < self._width:
                raise UserError(
                    f"{self._path} line {line}: {len(cells)} of {self._width} columns; cut short?"
                )
            name = cells[self._place[column]] if column else self._path.name
            members[strip_media_suffix(name)].append((line, cells))
        if not per_frame and (twice := [n for n, own in members.items() if len(own) > 1]):
            raise UserError(
                f"{self._path}: several rows of {format_names(twice)}; leave one, or give a row a"
                " frame with a column timestamp"
            )
        tracks = {name: self._track(own, per_frame) for name, own in members.items()}
        source = f"column {column}" if column else "the file name"
        return ActionUnitTable(self._path, tuple(self._units), tracks, source)

    def _track(self, rows: list[tuple[int, list[str]]], per_frame: bool) -> ActionUnitTrack:
        if "face_id" in self._place:
            lowest = min(self._numbers(rows, [self._place["face_id"]])[:, 0])
            kept = self._numbers(rows, [self._place["face_id"]])[:, 0] == lowest
            rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
        values = self._numbers(rows, self._places)
        mask = np.isfinite(values).all(axis=1)
        if "success" in self._place:
            mask &= self._numbers(rows, [self._place["success"]])[:, 0] > 0
        values = np.where(mask[:, None], values, 0.0).astype(np.float32)
        if not per_frame:
            return ActionUnitTrack(values, mask)
        times_s = self._numbers(rows, [self._place["timestamp"]])[:, 0]
        if not np.isfinite(times_s).all():
            raise UserError(f"{self._path}: a row without timestamp; write it with OpenFace again")
        order = np.argsort(times_s, kind="stable")
        return ActionUnitTrack(values[order], mask[order], times_s[order])

    def _numbers(self, rows: Iterable[tuple[int, list[str]]], places: list[int]) -> np.ndarray:
        """(rows, columns) float64; an empty cell is NaN."""
        found = []
        for line, cells in rows:
            try:
                found.append([float(cells[i]) if cells[i].strip() else math.nan for i in places])
            except ValueError as error:
                raise UserError(
                    f"{self._path} line {line}: {error}; write the table with OpenFace again"
                ) from error
        return np.array(found)
