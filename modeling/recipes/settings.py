"""`--set key=value`: settings of a builder, and their values parsed from text."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from affectstream.core import registry
from affectstream.core.errors import UserError


def parse_assignment(word: str) -> tuple[str, str]:
    """Key and value of `key=value`.

    Raises:
      UserError: the equals sign is missing.
    """
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"--set {word}: expected key=value")
    return key.strip(), text.strip()


def builder_defaults(kind: str, name: str) -> dict[str, Any]:
    """Arguments of an encoder's or fusion's builder that have a default."""
    parameters = inspect.signature(registry.load(kind, name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def text_feature_defaults(features: str) -> dict[str, Any]:
    """Settings of a text front end with their defaults, without fitted values."""
    front_end = registry.load("features", features)
    values = {f.name: getattr(front_end, f.name) for f in dataclasses.fields(front_end)}
    kinds = str | int | float
    return {k: value for k, value in values.items() if isinstance(value, kinds) and k != "stream"}
