"""Registry: name -> "module:attribute", so that listing imports nothing heavy.

Adding a corpus, detector, transform, encoder, fusion or recipe is one file and one line in
`components.toml`; the contract tests run over the same table.
"""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.core.errors import UserError

# Kind -> prefix of each target in the table.
_PREFIXES = {
    "corpora": "affectstream.preprocessing.corpora.",
    "label-sets": "affectstream.preprocessing.labels:",
    "detectors": "affectstream.opencv_model.detectors.",
    "transcribers": "affectstream.preprocessing.speech_to_text.",
    "translators": "affectstream.data_augmentation.offline.translators.",
    "features": "affectstream.modeling.features.",
    "encoders": "affectstream.modeling.encoders.",
    "fusions": "affectstream.modeling.fusions.",
    "transforms": "affectstream.data_augmentation.",
    "recipes": "affectstream.modeling.recipes.",
}


@dataclass(frozen=True)
class Entry:
    """One registered component.

    Attributes:
      target: "module:attribute", imported only when the component is used.
      summary: one-line description; a recipe holds its own.
      licence: licence of the data, weights or method's code; "" if none applies.
      source: paper, standard or publisher.
      stream: the stream it belongs to, "" for any.
    """

    target: str
    summary: str = ""
    licence: str = ""
    source: str = ""
    stream: str = ""


def _read_table() -> dict[str, dict[str, Entry]]:
    text = Path(__file__).with_name("components.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    return {
        kind: {
            name: Entry(**{**row, "target": prefix + row["target"]}) for name, row in own.items()
        }
        for kind, prefix in _PREFIXES.items()
        for own in (rows[kind],)
    }


TABLE = _read_table()


def entry(kind: str, name: str) -> Entry:
    """The table row of `name`.

    Raises:
      UserError: no such kind or name; the message lists the known ones.
    """
    rows = TABLE.get(kind)
    if rows is None:
        raise UserError(f"no list {kind!r}; known: {', '.join(TABLE)}")
    if name not in rows:
        raise UserError(f"no {kind} named {name!r}; known: {', '.join(rows)}")
    return rows[name]


def load(kind: str, name: str) -> Any:
    """Imports and returns the target of `name`."""
    module, attribute = entry(kind, name).target.split(":")
    return getattr(importlib.import_module(module), attribute)


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, in table order."""
    return tuple(TABLE[kind])
