"""Error for a folder that belongs to another corpus; it names the likely corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import Rejection
from affectstream.preprocessing.corpora.corpus import Corpus

MAX_FILES_CHECKED = 20


def likely_corpus(paths: Sequence[Path]) -> str:
    """Name of the first registered corpus that recognises one of the first files, or ""."""
    for name in registry.names("corpora"):
        corpus: Corpus = registry.load("corpora", name)
        if any(map(corpus.matches_file, paths[:MAX_FILES_CHECKED])):
            return name
    return ""


def corpus_mismatch_error(
    source: Path, what: str, paths: Sequence[Path], rejected: Sequence[Rejection] = ()
) -> UserError:
    """The error for a folder without the files that a reader needs.

    Args:
      source: the folder.
      what: the missing content, as text after "FOLDER: ".
      paths: media files in it, to recognise another corpus.
      rejected: its entries that could not be entered.
    """
    what = "; ".join([what, *(rejection.reason for rejection in rejected[:1])])
    likely = likely_corpus(paths)
    if likely:
        return UserError(f"{source}: {what}; it looks like {likely}: use --corpus {likely}")
    return UserError(f"{source}: {what}; check --corpus and --source")
