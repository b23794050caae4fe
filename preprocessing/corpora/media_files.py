"""Media files of a folder, in an order that no disk decides."""

from __future__ import annotations

from pathlib import Path

from errors import UserError, from_os_error

VIDEO_SUFFIXES = frozenset([".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".flv"])
LOSSLESS_SUFFIXES = frozenset([".wav", ".flac", ".aif", ".aiff"])
LOSSY_SUFFIXES = frozenset([".mp3", ".ogg", ".opus", ".m4a", ".aac", ".wma"])
MEDIA_SUFFIXES = VIDEO_SUFFIXES | LOSSLESS_SUFFIXES | LOSSY_SUFFIXES


def printable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever bytes the disk holds."""
    return name.encode("utf-8", "backslashreplace").decode()


def suffix_rank(suffix: str) -> int:
    """The lowest of one recording's files is kept: 0 with picture, 1 exact sound, 2 the rest."""
    suffix = suffix.lower()
    return 0 if suffix in VIDEO_SUFFIXES else 1 if suffix in LOSSLESS_SUFFIXES else 2


def check_folder(source: Path) -> None:
    """Raises UserError where `source` is no folder."""
    if not source.exists():
        raise UserError(f"{source}: no such folder; give the folder that holds the recordings")
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; give the folder that holds the recordings")


def find_media(source: Path) -> list[Path]:
    """All media files below a folder, sorted by path, hidden ones left out; [] where none is.

    Raises:
      UserError: the folder is missing or unreadable.
    """
    check_folder(source)
    try:
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
    except OSError as error:
        raise from_os_error(error, source) from error
    return [path for path in found if not path.name.startswith(".") and path.is_file()]


def media_files(source: Path) -> list[Path]:
    """As `find_media`, for a folder that must hold some.

    Raises:
      UserError: the folder is missing, unreadable, or holds no media file.
    """
    found = find_media(source)
    if not found:
        kinds = " ".join(sorted(MEDIA_SUFFIXES))
        raise UserError(f"{source}: no media file in this folder (looked for {kinds})")
    return found
