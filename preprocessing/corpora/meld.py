"""MELD: clips of a television series, with one table per split; also the tables alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.corpus_mismatch import corpus_mismatch_error
from affectstream.preprocessing.corpora.csv_table import parse_csv
from affectstream.preprocessing.corpora.filename_reader import SAME_RECORDING
from affectstream.preprocessing.corpora.media_files import FolderListing, list_folder
from affectstream.preprocessing.file_kinds import MEDIA_SUFFIXES, suffix_rank
from affectstream.preprocessing.labels import to_canonical_label

# Name of a table -> (split as in folder names, split).
TABLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "train_sent_emo.csv": ("train", "train"),
        "dev_sent_emo.csv": ("dev", "validation"),
        "test_sent_emo.csv": ("test", "test"),
    }
)
# A folder of this form holds clips of that split; `output_repeated_splits_test` is the publisher's.
_PART_FOLDER = re.compile(r"(?:output_repeated_splits_)?(train|dev|test)(?:[_\-. ].*)?", re.I)
_STEM = re.compile(r"dia(\d+)_utt(\d+)")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")

UtteranceId = tuple[str, int, int]


@dataclass(frozen=True, kw_only=True)
class MeldCorpus(Corpus):
    """MELD with its official train, dev (validation) and test splits.

    Dialogue and utterance numbers restart in each split. A clip belongs to the split named by its
    nearest parent folder (`train_splits`, `dev_splits_complete`, `output_repeated_splits_test`, or
    any name that begins with train, dev or test).
    """

    def matches_file(self, path: Path) -> bool:
        """Whether a file name follows MELD's naming."""
        return _STEM.fullmatch(path.stem) is not None

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the tables and the clip names; opens no clip.

        Raises:
          UserError: not a folder, no MELD table, a table without a required column, or no clip.
        """
        listing = list_folder(source)
        tables = find_tables(listing)
        skipped: Counter[str] = Counter()
        found = _by_item(listing, skipped)
        if not found:
            raise UserError(
                f"{source}: tables of MELD but no clip (looked for train_splits/dia0_utt0.mp4 and "
                "the like); put the media folders of MELD.Raw below it, or take the words alone: "
                "--corpus meld_text"
            )
        clips: list[Clip] = []
        rejected = [*listing.rejected]
        for table in tables:
            part, split = TABLES[table.name]
            rows = read_meld_table(table)
            if not any(item[0] == part for item in found):
                skipped[f"{part}: no clip of this part in the folder"] += len(rows)
                continue
            shown = listing.display_path(table)
            for line, row in rows:
                try:
                    clips.append(self._clip(listing, row, part, split, found))
                except UserError as error:
                    rejected.append(Rejection(f"{shown}:{line}", str(error)))
        if found:
            skipped["clips that no row of the tables names"] += len(found)
        taken = [*listing.with_suffixes(MEDIA_SUFFIXES), *tables]
        return CorpusIndex.of(clips, rejected, skipped, listing.ignored_suffixes(taken))

    def _clip(
        self,
        listing: FolderListing,
        row: Mapping[str, str],
        part: str,
        split: str,
        found: dict[UtteranceId, list[Path]],
    ) -> Clip:
        """The clip of one row; removes its files from `found`, so that no other row uses them."""
        told = clip_fields(self.name, part, row)
        item = utterance_of(part, row)
        paths = found.pop(item, None)
        if paths is None:
            raise UserError(
                f"{clip_stem(item)}: no such clip below a {part} folder, or two rows name it; get"
                " the file"
            )
        told |= {"split": split, "expected_duration_s": utterance_duration_s(row)}
        first, *others = [
            Clip(path=path, name=listing.display_path(path), **told) for path in paths
        ]
        return replace(first, others=tuple(others))


@dataclass(frozen=True, kw_only=True)
class MeldTextCorpus(Corpus):
    """MELD's utterances with its official split, from one, two or all of its tables.

    Speakers and recordings have the same names as in `meld`, so that leakage checks work between
    runs on text and on clips. An utterance is speech: two utterances of "Okay." are not copies.
    """

    def matches_file(self, path: Path) -> bool:
        return path.name in TABLES

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the tables below `source`.

        Raises:
          UserError: not a folder, no MELD table, or a table without a required column.
        """
        listing = list_folder(source)
        tables = find_tables(listing)
        clips: dict[str, Clip] = {}
        rejected = [*listing.rejected]
        for table in tables:
            part, split = TABLES[table.name]
            shown = listing.display_path(table)
            for line, row in read_meld_table(table):
                try:
                    told = clip_fields(self.name, part, row)
                    if not row["Utterance"]:
                        raise UserError("an empty Utterance; fill it in or leave the row out")
                    if told["recording"] in clips:
                        raise UserError("another row has the same dialogue and utterance; keep one")
                except UserError as error:
                    rejected.append(Rejection(f"{shown}:{line}", str(error)))
                else:
                    clips[told["recording"]] = Clip(
                        path=table,
                        name=shown,
                        inner=str(line),
                        split=split,
                        text_only=True,
                        **told,
                    )
        return CorpusIndex.of(clips.values(), rejected, {}, listing.ignored_suffixes(tables))


def utterance_of(part: str, row: Mapping[str, str]) -> UtteranceId:
    """The utterance of a row.

    Raises:
      UserError: its numbers are invalid.
    """
    if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal()):
        raise UserError("Dialogue_ID and Utterance_ID are not numbers; mend the row")
    return part, int(row["Dialogue_ID"]), int(row["Utterance_ID"])


def clip_stem(item: UtteranceId) -> str:
    """Stem of an utterance's clip."""
    return f"dia{item[1]}_utt{item[2]}"


def clip_fields(corpus: str, part: str, row: Mapping[str, str]) -> dict[str, Any]:
    """Fields of `Clip` from a row, without the path.

    Raises:
      UserError: an unknown emotion, or invalid numbers.
    """
    label = to_canonical_label(row["Emotion"])
    if label is None:
        raise UserError(f"unknown emotion {row['Emotion']!r}; expected one of MELD's seven")
    item = utterance_of(part, row)
    extras = {"sentiment": "Sentiment", "season": "Season", "episode": "Episode"}
    return {
        "corpus": corpus,
        "label": label,
        "speaker": f"{corpus}/{row['Speaker']}" if row["Speaker"] else "",
        "recording": f"{corpus}/{part}/{clip_stem(item)}",
        "transcript": row["Utterance"],
        "attributes": {
            "part": part,
            "dialogue": f"{part}/{item[1]}",
            **{key: row[column] for key, column in extras.items() if row.get(column)},
        },
    }


def read_meld_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of one MELD table as (number of their last line, {column: stripped text}).

    Raises:
      UserError: absent, unreadable, not a CSV, or without a required column.
    """
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise from_os_error(error, path) from error
    table = parse_csv(path, text, COLUMNS)
    return [(row.last_line, table.row_as_dict(row)) for row in table.rows]


def decode(data: bytes) -> str:
    """Decodes a table: UTF-8, with stray characters of Windows code page 1252 repaired.

    The publisher's tables have both bytes of code page 1252 among UTF-8 and such bytes encoded as
    the control characters U+0080 to U+009F.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")
    return text.translate(_MENDED)


def _mended() -> dict[int, str]:
    """Maps a stray byte, or control character, to its meaning in code page 1252."""
    meanings = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0x100)}
    controls = {code: meanings[code] for code in range(0x80, 0xA0)}
    return {**{0xDC00 + code: meaning for code, meaning in meanings.items()}, **controls}


_MENDED = _mended()


def find_tables(listing: FolderListing) -> list[Path]:
    """One table per split, the shallowest, in the order of `TABLES`.

    Raises:
      UserError: there is none.
    """
    found: dict[str, Path] = {}
    for path in sorted(listing.files, key=lambda path: (len(path.parts), path)):
        found.setdefault(path.name, path)
    tables = [found[name] for name in TABLES if name in found]
    if not tables:
        what = f"no table of MELD in it (looked for {', '.join(TABLES)})"
        raise corpus_mismatch_error(
            listing.folder, what, listing.with_suffixes(MEDIA_SUFFIXES), listing.rejected
        )
    return tables


_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)[.,](\d{1,3})")


def utterance_duration_s(row: Mapping[str, str]) -> float | None:
    """Duration from StartTime and EndTime (00:16:16,059); None if they are missing."""
    start_s, end_s = (_clock_s(row.get(column, "")) for column in ("StartTime", "EndTime"))
    if start_s is None or end_s is None or end_s <= start_s:
        return None
    return round(end_s - start_s, 3)


def _clock_s(text: str) -> float | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")


def _by_item(listing: FolderListing, skipped: Counter[str]) -> dict[UtteranceId, list[Path]]:
    """The files of each utterance, video before audio."""
    groups: dict[UtteranceId, list[Path]] = defaultdict(list)
    for path in listing.with_suffixes(MEDIA_SUFFIXES):
        match = _STEM.fullmatch(path.stem)
        part = _part_of(listing.folder, path)
        if match is None or not part:
            skipped["not named like PART/dia0_utt0.mp4"] += 1
        else:
            groups[part, int(match[1]), int(match[2])].append(path)
    skipped[SAME_RECORDING] += sum(len(paths) - 1 for paths in groups.values())
    return {
        item: sorted(paths, key=lambda path: (suffix_rank(path.suffix), path))
        for item, paths in groups.items()
    }


def _part_of(source: Path, path: Path) -> str:
    """The split of the nearest parent folder, up to and including `source` itself; or ""."""
    for folder in (*reversed(path.relative_to(source).parts[:-1]), source.resolve().name):
        if match := _PART_FOLDER.fullmatch(folder):
            return match[1].lower()
    return ""


MELD = MeldCorpus(
    name="meld",
    citation="Poria et al. 2019, MELD, ACL",
    licence="GPL-3.0 (tables); clips of a television series, research use",
    official_split=True,
)
MELD_TEXT = MeldTextCorpus(
    name=MELD.name,
    citation=MELD.citation,
    licence="GPL-3.0",
    official_split=True,
    text_only=True,
)
