"""Checks that a data folder was prepared with the settings of the current call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.records.record_settings import RecordSettings


def folder_settings(corpus: Corpus, settings: RecordSettings | None = None) -> dict[str, Any]:
    """Content of `preprocess.json`: the corpus's metadata and, if given, the settings."""
    made: dict[str, Any] = {
        "corpus": corpus.name,
        "synthetic": corpus.synthetic,
        "licence": corpus.licence,
        "citation": corpus.citation,
    }
    if settings is not None:
        made |= {
            "sample_rate_hz": settings.sample_rate_hz,
            "preparation": settings.as_json(),
        }
    if corpus.options:
        made["corpus_options"] = corpus.options
    return made


def with_resolved_name(corpus: Corpus, source: Path, out: Path, overwrite: bool) -> Corpus:
    """Gives a manifest corpus its name: the one stored in `out`, else one derived from `source`.

    Raises:
      UserError: the source cannot be read.
    """
    is_there = (out / data_folder.SETTINGS_FILE).is_file() and not overwrite
    return corpus.with_name(source, data_folder.read_settings(out) if is_there else None)


def require_same_settings(out: Path, wanted: dict[str, Any]) -> None:
    """Checks that the records in `out` were made with the same settings.

    Args:
      wanted: `folder_settings` of the current call; without settings in it, none are compared.
    Raises:
      UserError: names the differences and the remedy.
    """
    file = out / data_folder.SETTINGS_FILE
    if not file.is_file() or not any((out / data_folder.SHARDS_FOLDER).glob("*.json")):
        return
    present = data_folder.read_settings(out)
    if "preparation" not in wanted:
        apart = ("preparation", "sample_rate_hz")
        present = {key: value for key, value in present.items() if key not in apart}
    differences = _differences(present, wanted)
    if differences:
        raise UserError(
            f"{out}: prepared otherwise ({'; '.join(differences)});"
            " choose another --out, or --overwrite to begin anew"
        )


def _differences(present: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    differences = []
    for key in sorted({*present, *wanted}):
        a, b = present.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differences += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            differences.append(f"{prefix}{key}: {a} there, {b} now")
    return differences
