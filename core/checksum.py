"""File checksums stated by publishers."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ChecksumKind = Literal["sha256", "sha1", "md5", "git-blob"]


@dataclass(frozen=True)
class Checksum:
    """One checksum.

    Attributes:
      kind: "sha256", "sha1", "md5" of the bytes; "git-blob" for git's id of a text file, computed
        with git's line ends and final line break.
      value: lower-case hexadecimal digits.
      source: where the publisher states it.
    """

    kind: ChecksumKind
    value: str
    source: str

    def of(self, path: str | os.PathLike[str]) -> str:
        """Computes the checksum of a file.

        Raises:
          OSError: the file cannot be read.
        """
        if self.kind == "git-blob":
            return git_blob_id(
                Path(path).read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
            )
        with open(path, "rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(self.kind, usedforsecurity=False)
            ).hexdigest()


def git_blob_id(data: bytes) -> str:
    """Git's id for a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
