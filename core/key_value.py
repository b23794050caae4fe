"""Values of `key=value` words on the command line and in recipes."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

from affectstream.core.errors import UserError

_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def parse_value(where: str, text: str, kind: Any, example: object = None) -> Any:
    """Converts `text` to the declared type of a setting.

    Args:
      where: the setting, for the message: "--set epochs" or "noise:min_snr_db".
      kind: bool, int, float or str, or one of them `| None`, which also accepts "none".
      example: a valid value, for the message.
    Raises:
      UserError: not of that type.
    """
    if isinstance(kind, types.UnionType):
        if text.lower() == "none":
            return None
        kind = next(member for member in typing.get_args(kind) if member is not types.NoneType)
    if kind is bool:
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        raise UserError(f"{where}={text}: must be true or false")
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError:
        wanted = {int: "whole number", float: "number"}.get(kind, kind.__name__)
        like = "" if example is None else f", like {example}"
        raise UserError(f"{where}={text}: must be a {wanted}{like}") from None
