"""`--set key=value`: which settings a builder takes, and their values from text."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

from affectstream.core import registry
from affectstream.core.errors import UserError

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse_assignment(word: str) -> tuple[str, str]:
    """Key and value of `key=value`.

    Raises:
      UserError: there is no equals sign.
    """
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"--set {word}: expected key=value")
    return key.strip(), text.strip()


def builder_defaults(kind: str, name: str) -> dict[str, Any]:
    """Arguments with a default of an encoder's or fusion's builder."""
    parameters = inspect.signature(registry.load(kind, name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def text_feature_defaults(features: str) -> dict[str, Any]:
    """Settings of a text front end with their defaults; not what it learns."""
    front_end = registry.load("features", features)
    values = {f.name: getattr(front_end, f.name) for f in dataclasses.fields(front_end)}
    kinds = str | int | float
    return {k: value for k, value in values.items() if isinstance(value, kinds) and k != "stream"}


def parse_like(key: str, text: str, like: Any) -> Any:
    """`text` as a value of the same type as the default `like`.

    Raises:
      UserError: names the key, the text and the type.
    """
    kind = type(like)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise UserError(f"--set {key}={text}: must be true or false")
        return _BOOLEANS[text.lower()]
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError:
        wanted = {int: "whole number", float: "number"}.get(kind, kind.__name__)
        raise UserError(f"--set {key}={text}: must be a {wanted}, like {like}") from None
