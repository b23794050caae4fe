"""GoEmotions: comments of 28 classes, mapped by the publisher to Ekman's six and neutral.

A row is text, label numbers, comment id. Cells are not unquoted, because quotes have no meaning in
these tables. The attribute `emotions` keeps the fine labels. A comment with labels of several Ekman
classes is excluded and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora import text_table
from affectstream.preprocessing.corpora.csv_table import CsvRow
from affectstream.preprocessing.corpora.text_table import LabelledText, SkipRow, TextCorpus
from affectstream.preprocessing.labels import to_canonical_label

# Order of the label numbers: google-research/goemotions, data/emotions.txt.
EMOTIONS: tuple[str, ...] = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion"),
    *("curiosity", "desire", "disappointment", "disapproval", "disgust", "embarrassment"),
    *("excitement", "fear", "gratitude", "grief", "joy", "love", "nervousness", "optimism"),
    *("pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)

# google-research/goemotions, data/ekman_mapping.json, plus neutral, which it does not map.
_EKMAN = {
    "anger": "anger annoyance disapproval",
    "disgust": "disgust",
    "fear": "fear nervousness",
    "joy": (
        "joy amusement approval excitement gratitude love optimism relief pride admiration "
        "desire caring"
    ),
    "sadness": "sadness disappointment embarrassment grief remorse",
    "surprise": "surprise realization confusion curiosity",
    "neutral": "neutral",
}
EKMAN_OF: Mapping[str, str] = MappingProxyType(
    {emotion: ekman for ekman, emotions in _EKMAN.items() for emotion in emotions.split()}
)

FILES: Mapping[str, str] = MappingProxyType(
    {"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"}
)
AMBIGUOUS = "labels of more than one class of Ekman"


def _rows(path: Path) -> list[CsvRow]:
    return text_table.line_rows(path, lambda line: [cell.strip() for cell in line.split("\t")])


def _sentence(row: CsvRow) -> LabelledText:
    if len(row.cells) != 3 or not row.cells[2]:
        raise UserError(
            f"{len(row.cells)} cells where text, label numbers and comment id are needed,"
            " separated by tabs; correct the row"
        )
    text, numbers, comment = row.cells
    emotions = [_emotion(number.strip()) for number in numbers.split(",")]
    classes = {EKMAN_OF[emotion] for emotion in emotions}
    if len(classes) > 1:
        raise SkipRow(AMBIGUOUS)
    label = to_canonical_label(classes.pop())
    if label is None:
        raise UserError(f"no label here for {numbers!r}; leave the row out")
    return LabelledText(text, label, comment, {"emotions": " ".join(emotions)})


def _emotion(number: str) -> str:
    if not number.isdecimal() or int(number) >= len(EMOTIONS):
        raise UserError(f"unknown label {number!r}; expected numbers 0-27 with commas between")
    return EMOTIONS[int(number)]


GOEMOTIONS = TextCorpus(
    name="goemotions",
    citation="Demszky et al. 2020, GoEmotions: a dataset of fine-grained emotions, ACL",
    licence="CC BY 4.0",
    tables=FILES,
    rows=_rows,
    parse_row=_sentence,
    example="That is great, thanks!\t0,15\ted1abcd",
)
