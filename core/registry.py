"""Registry: name -> "module:attribute", so that listing imports nothing heavy.

Adding a corpus, detector, transform, encoder, fusion or recipe is one file and one line in
`core/catalogue`; the contract tests run over the same tables.
"""

from __future__ import annotations

import importlib
from typing import Any

from affectstream.core.catalogue import data, models, transforms
from affectstream.core.catalogue.entry import Entry
from affectstream.core.errors import UserError

TABLE: dict[str, dict[str, Entry]] = {
    "corpora": data.CORPORA,
    "label-sets": data.LABEL_SETS,
    "detectors": data.DETECTORS,
    "transcribers": data.TRANSCRIBERS,
    "translators": data.TRANSLATORS,
    "features": models.FEATURES,
    "encoders": models.ENCODERS,
    "fusions": models.FUSIONS,
    "transforms": transforms.TRANSFORMS,
    "recipes": models.RECIPES,
}


def entry(kind: str, name: str) -> Entry:
    """The table row of `name`.

    Raises:
      UserError: no such kind or name; the message lists those that exist.
    """
    rows = TABLE.get(kind)
    if rows is None:
        raise UserError(f"no list {kind!r}; known: {', '.join(TABLE)}")
    if name not in rows:
        raise UserError(f"no {kind} named {name!r}; known: {', '.join(rows)}")
    return rows[name]


def load(kind: str, name: str) -> Any:
    """Imports and returns what the row of `name` points to."""
    module, attribute = entry(kind, name).target.split(":")
    return getattr(importlib.import_module(module), attribute)


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, in the order of the table."""
    return tuple(TABLE[kind])
