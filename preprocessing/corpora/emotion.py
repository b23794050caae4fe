"""The six-class English text set of CARER, as `text;label` lines or as CSV, published split.

A line has the label after its last semicolon, with an optional header `text;label_name`; a CSV has
columns text and label, the latter a word or 0-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora import text_table
from affectstream.preprocessing.corpora.csv_table import CsvRow
from affectstream.preprocessing.corpora.text_table import LabelledText, TextCorpus
from affectstream.preprocessing.labels import parse_codes

# In the order of the numbers 0-5 in the CSV form.
LABELS = parse_codes("sadness sad joy happy love love anger angry fear fearful surprise surprised")
_STEMS = parse_codes("train train training train val validation validation validation test test")
FILES: Mapping[str, str] = MappingProxyType(
    {f"{stem}{suffix}": split for suffix in (".txt", ".csv") for stem, split in _STEMS.items()}
)
_COLUMNS = ("text", "label")
_HEADER_LABELS = ("label", "label_name", "emotion")


def _rows(path: Path) -> list[CsvRow]:
    if path.suffix.lower() == ".csv":
        return text_table.csv_rows(path, _COLUMNS)
    rows = text_table.line_rows(path, _cells)
    return rows[1:] if _is_header(rows[0]) else rows


def _cells(line: str) -> tuple[str, ...]:
    text, mark, label = line.rpartition(";")
    return (text.strip(), label.strip()) if mark else ()


def _is_header(row: CsvRow) -> bool:
    return len(row.cells) == 2 and row.cells[0] == "text" and row.cells[1] in _HEADER_LABELS


def _sentence(row: CsvRow) -> LabelledText:
    if len(row.cells) != len(_COLUMNS):
        raise UserError("no text and label; write text;label, or a quoted text and a label in CSV")
    text, word = row.cells
    known = list(LABELS)
    if word.isdecimal() and int(word) < len(known):
        word = known[int(word)]
    if word.lower() not in LABELS:
        raise UserError(f"unknown label {word!r}; known: {', '.join(known)}, or their numbers 0-5")
    return LabelledText(text, LABELS[word.lower()])


EMOTION = TextCorpus(
    name="emotion",
    citation="Saravia et al. 2018, CARER: contextualized affect representations, EMNLP",
    licence="research and education",
    tables=FILES,
    rows=_rows,
    parse_row=_sentence,
    example="i feel so lucky today;joy",
)
