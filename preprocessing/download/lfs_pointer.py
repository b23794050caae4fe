"""Git LFS pointers: a few lines that stand in git for a large file."""

from __future__ import annotations

import hashlib
import re

from affectstream.core.errors import UserError
from affectstream.opencv_model.checksum import Checksum

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>\d+)\n?"
)


def read_pointer(data: bytes, expected: Checksum, source: str) -> tuple[int, str]:
    """Size and SHA-256 of the file that a pointer stands for.

    Args:
      data: the pointer's bytes.
      expected: git's checksum of those bytes.
      source: where they come from, for messages.
    Raises:
      UserError: other bytes than git has, or no pointer.
    Source: Git LFS specification, version 1.
    """
    value = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if value != expected.value:
        raise UserError(
            f"{source}: a pointer with a wrong checksum (git {value}, expected {expected.value} by "
            f"{expected.source}); try again"
        )
    match = _POINTER.fullmatch(data)
    if match is None:
        raise UserError(f"{source}: no Git LFS pointer; the publisher has changed its form")
    return int(match["size"]), match["oid"].decode()
