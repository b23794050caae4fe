"""Tables of texts and labels, as lines or CSV; invalid rows are rejected one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from affectstream.core.errors import UserError, from_os_error, pluralize
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.content_hash import TEXT_HASH, content_hash
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.corpus_mismatch import corpus_mismatch_error
from affectstream.preprocessing.corpora.csv_table import (
    CsvRow,
    parse_csv,
    require_no_pointer,
    split_lines,
)
from affectstream.preprocessing.corpora.media_files import FolderListing, list_folder

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# A byte that is not UTF-8 is read as the lone surrogate U+DC00 + byte.
_FIRST_STRAY, _LAST_STRAY = "\udc80", "\udcff"


@dataclass(frozen=True)
class LabelledText:
    """Content of one row.

    Attributes:
      text: as written, without outer white space.
      label: a canonical label.
      recording: unique id of the text in split and leakage checks; "" uses table and line.
      attributes: further metadata of the row.
    """

    text: str
    label: str
    recording: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class SkipRow(Exception):  # noqa: N818 - no error: a row that the corpus leaves out on purpose
    """Raised by a corpus to exclude a valid row; the message is counted."""


# === Content of a text ===


def text_comparison_key(text: str) -> str:
    """A text in lower case with normalised white space."""
    return " ".join(text.casefold().split())


def text_hash(text: str) -> str:
    """Content hash of a text, independent of case and white space."""
    return content_hash(text_comparison_key(text).encode())


# === Files ===


def read_text(path: Path) -> str:
    """Reads a text file; bytes that are not UTF-8 become lone surrogates (see `require_utf8`).

    Raises:
      UserError: absent, unreadable, empty, or UTF-16.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise from_os_error(error, path) from error
    if data.startswith(_UTF16_MARKS):
        raise UserError(f"{path}: UTF-16 text; save it as UTF-8")
    text = data.removeprefix(_UTF8_MARK).decode("utf-8", errors="surrogateescape")
    require_no_pointer(path, text)
    if not text.strip():
        raise UserError(f"{path}: an empty file; fetch the table again")
    return text


def require_utf8(raw: str) -> None:
    """Raises UserError that names the first byte of `raw` that is not UTF-8, counted from 1."""
    for place, letter in enumerate(raw):
        if _FIRST_STRAY <= letter <= _LAST_STRAY:
            byte = len(raw[:place].encode("utf-8", errors="surrogateescape")) + 1
            raise UserError(
                f"not UTF-8: byte {byte} of the line is 0x{ord(letter) - 0xDC00:02X};"
                " save the table as UTF-8 or mend the row"
            )


# === Formats ===


def line_rows(path: Path, cells: Callable[[str], Sequence[str]]) -> list[CsvRow]:
    """Rows of a table with one row per line, without blank lines.

    Args:
      cells: splits a line.
    Raises:
      UserError: as in `read_text`.
    """
    return [
        CsvRow(number, number, line, tuple(cells(line)))
        for number, line in enumerate(split_lines(read_text(path)), start=1)
        if line.strip()
    ]


def csv_rows(path: Path, columns: Sequence[str]) -> list[CsvRow]:
    """Rows of a CSV with a header; quoted cells may contain commas, quotes and line breaks.

    Args:
      columns: requested columns; the cells of each row are stripped and in this order. A row with
        fewer or more cells than the header has none.
    Raises:
      UserError: as in `read_text`, a missing column, or an unclosed quote.
    """
    table = parse_csv(path, read_text(path), columns, ignore_case=True)
    places = [table.columns.index(column) for column in columns]
    return [
        replace(
            row,
            cells=tuple(row.cells[i] for i in places)
            if len(row.cells) == len(table.columns)
            else (),
        )
        for row in table.rows
    ]


# === Corpus ===


@dataclass(frozen=True, kw_only=True)
class TextCorpus(Corpus):
    """A corpus of texts with one table per split; each text is independent content.

    Attributes:
      tables: lower-case file name -> split; a split may have several names.
      rows: reads one table.
      parse_row: reads one row; raises UserError if it is invalid, SkipRow if it is excluded.
      example: a valid row, for messages.
    """

    tables: Mapping[str, str]
    rows: Callable[[Path], Iterable[CsvRow]]
    parse_row: Callable[[CsvRow], LabelledText]
    example: str
    official_split: bool = True
    text_only: bool = True

    def matches_file(self, path: Path) -> bool:
        return path.name in self.tables and path.suffix != ".csv"  # train.csv is a common name

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the tables below `source`, at any depth; an invalid row is rejected.

        Raises:
          UserError: not a folder, no such table or two for one split, an unreadable table, or no
            usable row.
        """
        listing = list_folder(source)
        parts = self._find_tables(listing)
        clips: list[Clip] = []
        rejected = [*listing.rejected]
        skipped: Counter[str] = Counter()
        for path, split in parts:
            shown = listing.display_path(path)
            for row in self.rows(path):
                try:
                    clips.append(self._clip(path, shown, split, row))
                except UserError as error:
                    rejected.append(Rejection(f"{shown}:{row.first_line}", str(error)))
                except SkipRow as reason:
                    skipped[str(reason)] += 1
        if not clips and not skipped:
            first = f"; first: {rejected[0].path}: {rejected[0].reason}" if rejected else ""
            raise UserError(
                f"{source}: none of {pluralize(len(rejected), 'row')} is one of {self.name};"
                f" expected one like {self.example!r}{first}"
            )
        ignored_suffixes = listing.ignored_suffixes(path for path, _ in parts)
        return CorpusIndex.of(clips, rejected, skipped, ignored_suffixes)

    def _find_tables(self, listing: FolderListing) -> list[tuple[Path, str]]:
        """The table of each split, sorted by split."""
        found = listing.files_named(self.tables.__contains__)
        if not found:
            what = f"no table of {self.name} in it (looked for {', '.join(self.tables)})"
            raise corpus_mismatch_error(listing.folder, what, listing.files, listing.rejected)
        parts: dict[str, Path] = {}
        for path in found:
            other = parts.setdefault(self.tables[path.name.lower()], path)
            if other != path:
                two = " and ".join(map(listing.display_path, (other, path)))
                raise UserError(f"{listing.folder}: two tables for one part: {two}; keep one")
        return [(parts[split], split) for split in sorted(parts)]

    def _clip(self, path: Path, shown: str, split: str, row: CsvRow) -> Clip:
        require_utf8(row.raw)
        found = self.parse_row(row)
        if not found.text:
            raise UserError("an empty text; fill it in or leave the row out")
        return Clip(
            path=path,
            name=shown,
            corpus=self.name,
            label=found.label,
            speaker="",
            recording=f"{self.name}/{found.recording or f'{shown}:{row.first_line}'}",
            inner=str(row.first_line),
            transcript=found.text,
            split=split,
            attributes={**found.attributes, TEXT_HASH: text_hash(found.text)},
            text_only=True,
        )
