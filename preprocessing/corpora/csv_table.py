"""CSV tables with a header row, read in one way for all corpora that are told by such a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import UserError
from preprocessing.corpora.media_files import printable


@dataclass(frozen=True)
class CsvRow:
    """One row below the header.

    Attributes:
      first_line, last_line: where it begins and ends in the file, from 1; a quoted cell may hold
        line breaks.
      raw: these lines as they stand in the file.
      cells: one a column, stripped; a short row lacks the last ones, a long one has some more.
    """

    first_line: int
    last_line: int
    raw: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class CsvTable:
    """What a CSV holds: the stripped names of its columns, and its rows without blank lines."""

    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]

    def named(self, row: CsvRow) -> dict[str, str]:
        """{column: cell}; "" for a cell that the row lacks."""
        lacking = [""] * (len(self.columns) - len(row.cells))
        return dict(zip(self.columns, (*row.cells, *lacking), strict=False))


def parse_csv(
    path: Path, text: str, required: Sequence[str], ignore_case: bool = False
) -> CsvTable:
    """Reads a CSV; quoted cells may hold commas, doubled quotes and line breaks.

    Args:
      path: of the file, for messages.
      text: its content.
      required: columns that must be there.
      ignore_case: names of columns are taken in lower case.
    Raises:
      UserError: a column is missing, or quotes are set wrongly.
    Source: RFC 4180.
    """
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, strict=True)
    rows: list[CsvRow] = []
    begin = 0
    try:
        for cells in reader:
            if cells:
                raw = "".join(lines[begin : reader.line_num])
                stripped = tuple(cell.strip() for cell in cells)
                rows.append(CsvRow(begin + 1, reader.line_num, raw, stripped))
            begin = reader.line_num
    except csv.Error as error:
        raise UserError(
            f"{path}:{begin + 1}: no CSV ({error}); double the quotes inside a cell and close it"
        ) from error
    header = rows[0].cells if rows else ()
    columns = tuple(name.lower() for name in header) if ignore_case else header
    missing = [column for column in required if column not in columns]
    if missing:
        have = printable(", ".join(columns)) or "none"
        raise UserError(f"{path}: column {', '.join(missing)} missing (has {have}); add it")
    return CsvTable(columns, tuple(rows[1:]))
