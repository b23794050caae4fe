"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import places
from errors import UserError, from_os_error

TEMPORARY_MARK = ".part-"
_DIGEST = "digest"

# The module's own limit, 131,072 characters a cell, is less than a transcript may have.
csv.field_size_limit(2**31 - 1)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same ending), renamed on success, removed on failure.

    Works for a file and for a folder that does not exist yet. Of an object store the temporary one
    is on this machine's disk, and uploaded on success.

    Raises:
      UserError: the disk is full, the folder cannot be written, ...
    """
    final = places.place(path)
    if places.is_remote(final):
        with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
            yield Path(folder) / final.name
            try:
                places.upload(Path(folder) / final.name, final)
            except OSError as error:
                raise from_os_error(error, final) from error
        return
    temporary = final.with_name(f"{final.stem}{TEMPORARY_MARK}{uuid.uuid4().hex[:8]}{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(final)
    except OSError as error:
        raise from_os_error(error, final) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes temporaries that a killed run of ours left directly in `folder`."""
    if places.is_remote(there := places.place(folder)):
        return  # what is uploaded shows only when it is whole
    for path in there.glob(f"*{TEMPORARY_MARK}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON.

    Raises:
      UserError: absent, unreadable or damaged.
    """
    try:
        with places.told(places.place(path)):
            return json.loads(places.place(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise from_os_error(error, path) from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); write it again") from error


def write_sealed_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """As `write_json`, with a digest by which `read_sealed_json` knows it again."""
    write_json(path, {**value, _DIGEST: digest(value)})


def read_sealed_json(path: str | os.PathLike[str], remedy: str = "write it again") -> Any:
    """What `write_sealed_json` wrote, as a dict.

    Raises:
      UserError: absent, damaged or changed by hand; it says `remedy`.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.pop(_DIGEST, None) != digest(value):
        raise UserError(f"{path}: not what was written; {remedy}")
    return value


def read_cached_json(path: Path) -> dict[str, Any]:
    """What a file of a cache holds; empty where it is absent or damaged, to be made again."""
    if not path.is_file():
        return {}
    try:
        held = read_json(path)
    except UserError:
        return {}
    return held if isinstance(held, dict) else {}


def write_csv(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    """Writes rows under `columns` as UTF-8 CSV, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def digest(value: Any) -> str:
    """A short stable name for a JSON value: 16 hex digits of the SHA-256 of its canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with places.open_binary(places.place(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
