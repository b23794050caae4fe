"""Reader of CSV tables with a header row, shared by all corpora that have one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectstream.core import lfs_pointer
from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora.media_files import printable

# Delimiters: of RFC 4180, of spreadsheets in locales with a decimal comma, and of tab-separated
# tables.
DELIMITERS = (",", ";", "\t")
# A first line `sep=;` tells spreadsheets the delimiter.
_SPREADSHEET_HINT = re.compile(r"sep=([,;\t])\s*")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class CsvRow:
    """One row below the header.

    Attributes:
      first_line, last_line: its lines in the file, from 1; a quoted cell may contain line breaks.
      raw: these lines as in the file.
      cells: one per column, stripped; a short row lacks the last ones, a long one has extra ones.
    """

    first_line: int
    last_line: int
    raw: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class CsvTable:
    """A parsed CSV: the stripped column names, and the rows without blank lines."""

    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]

    def row_as_dict(self, row: CsvRow) -> dict[str, str]:
        """{column: cell}; "" for a missing cell."""
        lacking = [""] * (len(self.columns) - len(row.cells))
        return dict(zip(self.columns, (*row.cells, *lacking), strict=False))


def split_lines(text: str) -> list[str]:
    """The lines of a text, ended only by CR LF, LF and CR.

    Not `str.splitlines`, which also splits at U+2028, U+0085 or a form feed within a sentence.
    """
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def require_no_pointer(path: Path, text: str) -> None:
    """Raises UserError if the text of a file is a git-lfs pointer."""
    if lfs_pointer.is_pointer_text(text):
        raise UserError(f"{path}: {lfs_pointer.POINTER_MESSAGE}")


def parse_csv(
    path: Path, text: str, required: Sequence[str], ignore_case: bool = False
) -> CsvTable:
    """Reads a CSV; quoted cells may hold commas, doubled quotes and line breaks.

    The delimiter is a comma, or a semicolon or tab if the required columns are found with it.

    Args:
      path: path of the file, for messages.
      text: its content.
      required: required columns.
      ignore_case: converts column names to lower case.
    Raises:
      UserError: a column is missing, quotes are set wrongly, or a git-lfs pointer.
    Source: RFC 4180.
    """
    require_no_pointer(path, text)
    lines = list(io.StringIO(text, newline=""))
    told = _SPREADSHEET_HINT.fullmatch(lines[0]) if lines else None
    if told is not None:
        lines[0] = "\n"
    delimiter = told[1] if told else delimiter_of(lines, required, ignore_case)
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
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


def delimiter_of(
    lines: Sequence[str], required: Sequence[str] = (), ignore_case: bool = False
) -> str:
    """Detects the delimiter of a table from its header.

    Args:
      lines: lines of the table.
      required: required columns; the first delimiter that yields them is used, else the one that
        splits the header into most cells, a comma on a tie.
    """
    header = next((line for line in lines if line.strip()), "")

    def columns(delimiter: str) -> list[str]:
        try:
            found = [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        except csv.Error:
            return []
        return [name.lower() for name in found] if ignore_case else found

    names = {delimiter: columns(delimiter) for delimiter in DELIMITERS}
    fitting = [d for d in DELIMITERS if required and set(required) <= set(names[d])]
    return fitting[0] if fitting else max(DELIMITERS, key=lambda d: len(names[d]))
