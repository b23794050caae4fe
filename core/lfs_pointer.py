"""Detects Git LFS pointers: short text files that replace large files in git."""

from __future__ import annotations

import re
from pathlib import Path

from affectstream.core import storage_paths
from affectstream.core.errors import UserError

_START = b"version https://git-lfs.github.com/spec/v1"
_POINTER = re.compile(
    re.escape(_START) + rb"\n(?:ext-.*\n)*oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>\d+)\n?"
)
# A pointer is about 130 bytes.
MAX_POINTER_BYTES = 1024
POINTER_MESSAGE = (
    "a git-lfs pointer, not the file itself; run `git lfs pull` there, or fetch the file"
)


def is_pointer(data: bytes) -> bool:
    """Whether the content of a file is a pointer.

    Source: Git LFS specification, version 1.
    """
    return len(data) <= MAX_POINTER_BYTES and data.startswith(_START)


def is_pointer_text(text: str) -> bool:
    """As `is_pointer`, for a file that was read as text."""
    return is_pointer(text[: MAX_POINTER_BYTES + 1].encode("utf-8", "replace"))


def is_pointer_file(path: Path) -> bool:
    """Whether the file at `path` is a pointer; False if it cannot be read."""
    try:
        with storage_paths.open_binary(path) as file:
            return is_pointer(file.read(MAX_POINTER_BYTES + 1))
    except OSError:
        return False


def require_not_pointer(path: Path) -> None:
    """Raises UserError if the file at `path` is a pointer instead of its target."""
    if is_pointer_file(path):
        raise UserError(f"{path}: {POINTER_MESSAGE}")


def parse_pointer(data: bytes) -> tuple[int, str] | None:
    """Size and SHA-256 of a pointer's target; None if `data` is not a pointer.

    Source: Git LFS specification, version 1.
    """
    match = _POINTER.fullmatch(data)
    return (int(match["size"]), match["oid"].decode()) if match else None
