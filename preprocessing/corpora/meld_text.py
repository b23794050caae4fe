"""MELD without its clips: the utterances of the tables alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.media_files import list_folder
from affectstream.preprocessing.corpora.meld import (
    MELD,
    TABLES,
    clip_fields,
    find_tables,
    read_meld_table,
)


@dataclass(frozen=True, kw_only=True)
class MeldTextCorpus(Corpus):
    """MELD's utterances with its official split, from one, two or all of its tables.

    Speakers and recordings have the names that `meld` gives them, so that a run on the words and a
    run on the clips are held against each other. An utterance is speech: "Okay." said twice is no
    copy of a text.
    """

    def matches_file(self, path: Path) -> bool:
        """Whether a file is named as one of MELD's tables."""
        return path.name in TABLES

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the tables below `source`.

        Raises:
          UserError: no folder, no table of MELD, or a table without a needed column.
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
        found = sorted(clips.values(), key=lambda clip: clip.key)
        ignored_suffixes = listing.ignored_suffixes(tables)
        return CorpusIndex(tuple(found), tuple(rejected), Counter(), ignored_suffixes)


MELD_TEXT = MeldTextCorpus(
    name=MELD.name,
    citation=MELD.citation,
    licence="GPL-3.0",
    official_split=True,
    text_only=True,
)
