"""What every reader of a corpus declares and offers."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.preprocessing.clip import CorpusIndex


@dataclass(frozen=True, kw_only=True)
class Corpus(abc.ABC):
    """A corpus. A reader overrides `build_index`, and whatever else its corpus has.

    Attributes:
      name: as it stands in speaker, recording and record ids.
      citation, licence: as the publisher states them; stored with the records.
      synthetic: made by a program; said wherever the corpus shows.
      official_split: whether its clips carry a published split.
      text_only: whether it holds texts alone; no face detector is opened for it.
      faces_cropped: whether its pictures are cut-out faces; no detector is run on them.
    """

    name: str
    citation: str
    licence: str
    synthetic: bool = False
    official_split: bool = False
    text_only: bool = False
    faces_cropped: bool = False

    @abc.abstractmethod
    def build_index(self, source: Path) -> CorpusIndex:
        """Lists the clips at `source`, a folder, archive or table; decodes no media file.

        Raises:
          UserError: `source` is absent, unreadable, or holds nothing of this corpus.
        """

    @property
    def options(self) -> Mapping[str, Any]:
        """Options that change the clips; stored with the records. Empty for the usual corpus."""
        return {}

    @property
    def recording_pattern(self) -> re.Pattern[str] | None:
        """Pattern of a file's stem whose group `recording` is in all files of one recording."""
        return None

    def matches_file(self, path: Path) -> bool:
        """Whether only this corpus names a file so; used to recognise a folder given by mistake."""
        return False

    def with_name(self, source: Path, present: Mapping[str, Any] | None = None) -> Corpus:
        """This corpus with the name that it has in ids, where that depends on its content.

        Args:
          present: `preprocess.json` of the data folder that is completed, if there is one.
        Raises:
          UserError: `source` cannot be read.
        """
        return self

    def without_scripts(self) -> Corpus | None:
        """This corpus without its scripted dialogues; None if it has none."""
        return None
