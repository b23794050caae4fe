"""A checksum of a zip file, stored in its comment: one file, so checksum and content agree."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

_MARK = b"sha256:"
_SEAL_BYTES = len(_MARK) + hashlib.sha256().digest_size * 2
_CHUNK_BYTES = 1 << 20


def add_checksum(path: Path) -> None:
    """Writes the SHA-256 of all preceding bytes into the comment of a zip, its last bytes."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = _MARK + b"0" * (_SEAL_BYTES - len(_MARK))
    with open(path, "r+b") as file:
        seal_at = file.seek(-_SEAL_BYTES, 2)
        value = _MARK + _sha256(path, seal_at).encode()
        file.seek(seal_at)
        file.write(value)


def damage_reason(path: Path) -> str:
    """Reason why a zip file is damaged; "" if it is intact.

    Raises:
      OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"no sound zip: {error}"
    except (ValueError, UnicodeError) as error:  # lengths and names that point outside the file
        return f"no sound zip: {error}"
    if not comment:
        return "no SHA-256 in the comment of the zip"
    digest = _sha256(path, path.stat().st_size - _SEAL_BYTES)
    return "" if comment == _MARK + digest.encode() else "wrong SHA-256"


def _sha256(path: Path, num_bytes: int) -> str:
    """SHA-256 of the first bytes of a file, as hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while num_bytes > 0 and (chunk := file.read(min(num_bytes, _CHUNK_BYTES))):
            digest.update(chunk)
            num_bytes -= len(chunk)
    return digest.hexdigest()
