"""MELD: clips of a television series, told by the tables of its three parts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import places
from errors import UserError, from_os_error
from preprocessing.clip import Clip, Inventory, Rejection
from preprocessing.corpora.csv_table import parse_csv
from preprocessing.corpora.media_files import check_folder, find_media, printable, suffix_rank
from preprocessing.corpora.named_files import SAME_RECORDING
from preprocessing.corpora.wrong_kind import wrong_kind
from preprocessing.labels import canonical

# Name of a table -> (part as in folder names, split).
TABLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "train_sent_emo.csv": ("train", "train"),
        "dev_sent_emo.csv": ("dev", "validation"),
        "test_sent_emo.csv": ("test", "test"),
    }
)
# A folder of this form holds clips of that part; `output_repeated_splits_test` is the publisher's.
_PART_FOLDER = re.compile(r"(?:output_repeated_splits_)?(train|dev|test)(?:[_\-. ].*)?", re.I)
_STEM = re.compile(r"dia(\d+)_utt(\d+)")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")

Item = tuple[str, int, int]


@dataclass(frozen=True)
class MeldCorpus:
    """MELD with its official split: train trains, dev validates, test tests.

    Dialogue and utterance numbers begin anew in each part, so a clip belongs to the part that the
    nearest folder above it names (`train_splits`, `dev_splits_complete`,
    `output_repeated_splits_test`, or any name that begins with train, dev or test).
    """

    name: str = "meld"
    citation: str = "Poria et al. 2019, MELD, ACL"
    licence: str = "GPL-3.0 (tables); clips of a television series, research use"
    synthetic: bool = False
    official_split: bool = True

    def recognises(self, path: Path) -> bool:
        """Whether a file is named as MELD names its clips."""
        return _STEM.fullmatch(path.stem) is not None

    def inventory(self, source: Path) -> Inventory:
        """Reads the tables and the names of the clips; opens no clip.

        Raises:
          UserError: no folder, no table of MELD, a table without a needed column, or no clip.
        """
        check_folder(source)
        tables = find_tables(source)
        media = find_media(source)
        if not tables:
            what = f"no table of MELD in it (looked for {', '.join(TABLES)})"
            raise wrong_kind(source, what, media)
        left_out: Counter[str] = Counter()
        found = _by_item(source, media, left_out)
        if not found:
            raise UserError(
                f"{source}: tables of MELD but no clip (looked for train_splits/dia0_utt0.mp4 and "
                "the like); put the media folders of MELD.Raw below it, or take the words alone: "
                "--corpus meld_text"
            )
        clips: list[Clip] = []
        rejected: list[Rejection] = []
        for table in tables:
            part, split = TABLES[table.name]
            rows = read_meld_table(table)
            if not any(item[0] == part for item in found):
                left_out[f"{part}: no clip of this part in the folder"] += len(rows)
                continue
            shown = printable(places.below(table, source))
            for line, row in rows:
                try:
                    clips.append(self._clip(source, row, part, split, found))
                except UserError as error:
                    rejected.append(Rejection(f"{shown}:{line}", str(error)))
        if found:
            left_out["clips that no row of the tables names"] += len(found)
        clips.sort(key=lambda clip: clip.key)
        return Inventory(tuple(clips), tuple(rejected), +left_out)

    def _clip(
        self, source: Path, row: Mapping[str, str], part: str, split: str, found: dict[Item, Path]
    ) -> Clip:
        """The clip of one row; takes its file out of `found`, so that no other row has it."""
        told = facts(self.name, part, row)
        item = item_of(part, row)
        path = found.pop(item, None)
        if path is None:
            raise UserError(
                f"{stem(item)}: no such clip below a {part} folder, or two rows name it; get the"
                " file"
            )
        name = printable(places.below(path, source))
        return Clip(path=path, name=name, split=split, **told)


def item_of(part: str, row: Mapping[str, str]) -> Item:
    """The utterance that a row is about.

    Raises:
      UserError: its numbers are none.
    """
    if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal()):
        raise UserError("Dialogue_ID and Utterance_ID are not numbers; mend the row")
    return part, int(row["Dialogue_ID"]), int(row["Utterance_ID"])


def stem(item: Item) -> str:
    """Name of the clip of an utterance, without ending."""
    return f"dia{item[1]}_utt{item[2]}"


def facts(corpus: str, part: str, row: Mapping[str, str]) -> dict[str, Any]:
    """What a row tells of its clip wherever that lies, as fields of `Clip`.

    Raises:
      UserError: an emotion that MELD does not have, or numbers that are none.
    """
    label = canonical(row["Emotion"])
    if label is None:
        raise UserError(f"unknown emotion {row['Emotion']!r}; expected one of MELD's seven")
    item = item_of(part, row)
    extras = {"sentiment": "Sentiment", "season": "Season", "episode": "Episode"}
    return {
        "corpus": corpus,
        "label": label,
        "speaker": f"{corpus}/{row['Speaker']}" if row["Speaker"] else "",
        "recording": f"{corpus}/{part}/{stem(item)}",
        "transcript": row["Utterance"],
        "attributes": {
            "part": part,
            "dialogue": f"{part}/{item[1]}",
            **{key: row[column] for key, column in extras.items() if row.get(column)},
        },
    }


def read_meld_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of one of MELD's tables as (number of their last line, {column: stripped text}).

    Raises:
      UserError: absent, unreadable, no CSV, or a needed column missing.
    """
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise from_os_error(error, path) from error
    table = parse_csv(path, text, COLUMNS)
    return [(row.last_line, table.named(row)) for row in table.rows]


def decode(data: bytes) -> str:
    """Text of a table: UTF-8, with the odd character of Windows code page 1252 mended.

    The publisher's tables have both bytes of code page 1252 among UTF-8 and such bytes encoded as
    the control characters U+0080 to U+009F.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")
    return text.translate(_MENDED)


def _mended() -> dict[int, str]:
    """Stray byte, or control character, -> what code page 1252 means by it."""
    meanings = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0x100)}
    controls = {code: meanings[code] for code in range(0x80, 0xA0)}
    return {**{0xDC00 + code: meaning for code, meaning in meanings.items()}, **controls}


_MENDED = _mended()


def find_tables(source: Path) -> list[Path]:
    """One table a part, the shallowest, in the order of `TABLES`; [] where none is."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(source.rglob("*.csv"), key=lambda path: (len(path.parts), path))
    except OSError as error:
        raise from_os_error(error, source) from error
    for path in paths:
        found.setdefault(path.name, path)
    return [found[name] for name in TABLES if name in found]


def _by_item(source: Path, media: Sequence[Path], left_out: Counter[str]) -> dict[Item, Path]:
    """The best file of each utterance, a video before sound alone."""
    groups: dict[Item, list[Path]] = defaultdict(list)
    for path in media:
        match = _STEM.fullmatch(path.stem)
        part = _part_of(source, path)
        if match is None or not part:
            left_out["not named like PART/dia0_utt0.mp4"] += 1
        else:
            groups[part, int(match[1]), int(match[2])].append(path)
    left_out[SAME_RECORDING] += sum(len(paths) - 1 for paths in groups.values())
    return {
        item: min(paths, key=lambda path: (suffix_rank(path.suffix), path))
        for item, paths in groups.items()
    }


def _part_of(source: Path, path: Path) -> str:
    """The part that the nearest folder names, up to and including `source` itself; or ""."""
    for folder in (*reversed(path.relative_to(source).parts[:-1]), source.resolve().name):
        if match := _PART_FOLDER.fullmatch(folder):
            return match[1].lower()
    return ""


MELD = MeldCorpus()
