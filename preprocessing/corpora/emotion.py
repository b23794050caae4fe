"""The six-class English text set of CARER, as `text;label` lines or as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import CorpusIndex
from affectstream.preprocessing.corpora import text_table
from affectstream.preprocessing.corpora.text_table import LabelledText, Row

# In the order of the numbers 0-5 that stand for them in the CSV form.
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "sadness": "sad",
        "joy": "happy",
        "love": "love",
        "anger": "angry",
        "fear": "fearful",
        "surprise": "surprised",
    }
)
_STEMS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
FILES: Mapping[str, str] = MappingProxyType(
    {f"{stem}{suffix}": split for suffix in (".txt", ".csv") for stem, split in _STEMS.items()}
)
_COLUMNS = ("text", "label")
_HEADER_LABELS = ("label", "label_name", "emotion")
EXAMPLE = "i feel so lucky today;joy"


@dataclass(frozen=True)
class EmotionCorpus:
    """Six classes of English messages, with the published split; a message is a text of its own."""

    name: str = "emotion"
    citation: str = "Saravia et al. 2018, CARER: contextualized affect representations, EMNLP"
    licence: str = "research and education"
    synthetic: bool = False
    official_split: bool = True
    text_only: bool = True

    def matches_file(self, path: Path) -> bool:
        """Whether a file is named as this set names its lists of lines."""
        return path.suffix == ".txt" and path.name in FILES

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the tables below `source`: train, val or validation, test, as .txt or .csv.

        A line is `text;label`, with the label behind the last semicolon and an optional header
        `text;label_name`; the CSV has columns text and label, the latter a word or 0-5.

        Raises:
          UserError: no folder, no such table, a table that cannot be read, or no usable row.
        """
        listing, parts = text_table.find_split_tables(source, FILES, self.name)
        return text_table.index_texts(self.name, listing, parts, _rows, _sentence, EXAMPLE)


def _rows(path: Path) -> list[Row]:
    if path.suffix.lower() == ".csv":
        return text_table.csv_rows(path, _COLUMNS)
    rows = text_table.line_rows(path, _cells)
    return rows[1:] if _is_header(rows[0]) else rows


def _cells(line: str) -> tuple[str, ...]:
    text, mark, label = line.rpartition(";")
    return (text.strip(), label.strip()) if mark else ()


def _is_header(row: Row) -> bool:
    return len(row.cells) == 2 and row.cells[0] == "text" and row.cells[1] in _HEADER_LABELS


def _sentence(row: Row) -> LabelledText:
    if len(row.cells) != len(_COLUMNS):
        raise UserError("no text and label; write text;label, or a quoted text and a label in CSV")
    text, word = row.cells
    known = list(LABELS)
    if word.isdecimal() and int(word) < len(known):
        word = known[int(word)]
    if word.lower() not in LABELS:
        raise UserError(f"unknown label {word!r}; known: {', '.join(known)}, or their numbers 0-5")
    return LabelledText(text, LABELS[word.lower()])


EMOTION = EmotionCorpus()
