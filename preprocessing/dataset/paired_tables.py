"""Feature tables of several streams over the same clips, as one data set for a fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import STREAMS
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.dataset.feature_table import FeatureTable, TableRow, table_splits

# Columns that must be equal for the same clip in all tables.
_COMMON = ("speaker", "recording", "label", "split")


@dataclass(frozen=True)
class PairedTables(DataFolder):
    """Tables joined by clip; a clip that is absent from a table lacks that stream.

    Attributes:
      path: path of the first table.
      tables: stream -> its table.
    """

    tables: Mapping[str, FeatureTable] = field(default_factory=dict)

    @property
    def text_uninformative_reason(self) -> str:
        reasons = (table.text_uninformative_reason for table in self.tables.values())
        return next(filter(None, reasons), "")

    def content(self) -> list[Any]:
        return [[stream, *table.content()] for stream, table in self.tables.items()]

    def values(
        self, stream: str, rows: tuple[ClipRow, ...], names: tuple[str, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of one stream.

        Args:
          names: names of the columns.
        Returns:
          (rows, names) float32, zeros if the stream is missing, and (rows,) bool, True if it is
          present.
        Raises:
          UserError: a column is missing.
        """
        table = self.tables[stream]
        columns = table.columns(names)
        place = {row.id: i for i, row in enumerate(table.rows)}
        is_present = np.array([row.id in place for row in rows], bool)
        values = np.zeros((len(rows), len(names)), np.float32)
        values[is_present] = columns[[place[row.id] for row in rows if row.id in place]]
        return values, is_present


def pair_tables(tables: Mapping[str, FeatureTable]) -> PairedTables:
    """Joins tables on their column `clip`.

    Args:
      tables: stream -> table, two or more.
    Raises:
      UserError: their metadata of a clip differ, or they have no clip in common.
    """
    tables = {stream: tables[stream] for stream in STREAMS if stream in tables}
    known: dict[str, tuple[Path, ClipRow, list[str]]] = {}
    for stream, table in tables.items():
        for row in table.rows:
            path, first, streams = known.setdefault(row.id, (table.path, row, []))
            for key in _COMMON:
                a, b = getattr(first, key), getattr(row, key)
                if a != b:
                    raise UserError(
                        f"{table.path}: {key} of clip {row.id!r} is {b!r}, in {path} it is {a!r};"
                        " write both with `features` from the same data folder"
                    )
            streams.append(stream)
    if all(len(streams) < len(tables) for _, _, streams in known.values()):
        paths = ", ".join(str(table.path) for table in tables.values())
        raise UserError(f"{paths}: no clip is in all of them; write them from one data folder")
    rows = tuple(
        TableRow(**row.metadata(ClipRow), stream="+".join(streams))
        for _, row, streams in known.values()
    )
    leading = next(iter(tables.values()))
    notes = dict.fromkeys(note for table in tables.values() for note in table.splits.notes)
    synthetic = any(table.synthetic for table in tables.values())
    return PairedTables(
        leading.path,
        rows,
        table_splits(rows, {**leading.provenance, "notes": tuple(notes)}),
        {**leading.settings, "synthetic": synthetic},
        tables,
    )
