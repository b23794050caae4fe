"""Feature tables of several streams over the same clips, as one set of data for a fusion."""

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
      path: of the first table.
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
          names: of the columns.
        Returns:
          (rows, names) float32, zeros where the stream is missing, and (rows,) bool: where it is
          there.
        Raises:
          UserError: a column is not there.
        """
        table = self.tables[stream]
        columns = table.columns(names)
        place = {row.id: i for i, row in enumerate(table.rows)}
        there = np.array([row.id in place for row in rows], bool)
        values = np.zeros((len(rows), len(names)), np.float32)
        values[there] = columns[[place[row.id] for row in rows if row.id in place]]
        return values, there


def pair_tables(tables: Mapping[str, FeatureTable]) -> PairedTables:
    """Joins tables by their column `clip`.

    Args:
      tables: stream -> table, two or more.
    Raises:
      UserError: they disagree about a clip, or have none in common.
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
