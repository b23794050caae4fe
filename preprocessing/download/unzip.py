"""Unpacking a zip: no path leads out of the folder, and each folder is whole or absent."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.preprocessing.download.remote_item import ExtractedFolder

MARGIN_BYTES = 64 << 20


class DamagedArchiveError(UserError):
    """The archive is damaged or unsafe and must be downloaded again."""


def unpack(archive: Path, out: Path, extracted_folders: Sequence[ExtractedFolder]) -> None:
    """Extracts each folder below `out`; existing ones are not changed.

    The CRC that the zip holds of each member is checked on the way.

    Raises:
      DamagedArchiveError: no zip, damaged, encrypted, a member outside of the folder, or a folder
        that the archive does not contain.
      UserError: too little disk.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            for piece in extracted_folders:
                if not (out / piece.folder).exists():
                    _unpack_piece(file, members, out, piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedArchiveError(
            f"{archive.name}: not a sound zip ({error}); fetch it again"
        ) from error


def _unpack_piece(
    file: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], out: Path, piece: ExtractedFolder
) -> None:
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        if match := re.fullmatch(piece.pattern, member.filename):
            wanted[safe_path(match["name"], member)] = member
    if not wanted:
        raise DamagedArchiveError(
            f"{Path(file.filename or '').name}: holds nothing for {piece.folder}; "
            "the publisher has changed it"
        )
    check_disk(out, sum(member.file_size for member in wanted.values()))
    with atomic_io.atomic_write(out / piece.folder) as folder:
        for name, member in wanted.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)


def safe_path(name: str, member: zipfile.ZipInfo | None = None) -> str:
    """`name`, if it is a plain relative path of a plain file.

    Raises:
      DamagedArchiveError: absolute, or with "..", backslash, drive or control character; or a link.
    """
    parts = PurePosixPath(name).parts
    bad = (
        not parts
        or name.startswith("/")
        or ".." in parts
        or any(character in name for character in "\\:")
        or any(ord(character) < 32 for character in name)
    )
    mode = member.external_attr >> 16 if member is not None else 0
    if bad or stat.S_ISLNK(mode):
        raise DamagedArchiveError(
            f"{name!r}: a name that leads out of the folder, or a link; nothing of it is written"
        )
    return name


def check_disk(folder: Path, num_bytes: int) -> None:
    """Raises UserError where `num_bytes` do not fit on the disk that holds `folder`."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < num_bytes + MARGIN_BYTES:
        raise UserError(
            f"{folder}: {num_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; "
            "free some space or choose another --out"
        )
