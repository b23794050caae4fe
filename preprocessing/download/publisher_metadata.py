"""Reads and validates the JSON metadata of a publisher."""

from __future__ import annotations

from typing import Any, cast

from affectstream.core.checksum import Checksum, ChecksumKind
from affectstream.core.errors import UserError

_KINDS: dict[str, ChecksumKind] = {
    "md5": "md5",
    "sha1": "sha1",
    "sha-1": "sha1",
    "sha256": "sha256",
    "sha-256": "sha256",
}


def require_field(value: Any, source: str, name: str, kind: type = object) -> Any:
    """`value[name]`.

    Raises:
      UserError: `value` is not a JSON object, or has no such field of that type.
    """
    found = value.get(name) if isinstance(value, dict) else None
    if found is None or not isinstance(found, kind):
        raise UserError(f"{source}: the answer has no {name!r}; the publisher has changed its form")
    return found


def parse_checksum(text: str, source: str) -> Checksum:
    """Parses `kind:digits` as a checksum.

    Raises:
      UserError: an unknown kind of checksum.
    """
    kind, _, value = str(text).partition(":")
    if kind.lower() not in _KINDS or not value:
        raise UserError(f"{source}: checksum {text!r} is of no known kind; fetch the file by hand")
    return Checksum(cast(ChecksumKind, _KINDS[kind.lower()]), value.strip().lower(), source)
