"""Lists the files below a folder in sorted order, with every entry that could not be read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from affectstream.core import storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import Rejection
from affectstream.preprocessing.file_kinds import (
    MEDIA_SUFFIXES,
    count_suffixes,
    format_suffix_counts,
)

# Created by operating systems; ignored like hidden files and folders.
_LEFT_BY_SYSTEMS = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"))


def printable(name: str) -> str:
    """A file name that can be written as UTF-8, for any bytes on the disk."""
    return name.encode("utf-8", "backslashreplace").decode()


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden (`.x`, `._x`) or created by a system (`__MACOSX`)."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def check_folder(source: Path) -> None:
    """Raises UserError if `source` is not a folder."""
    if not source.exists():
        raise UserError(f"{source}: no such folder; give the folder that holds the recordings")
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; give the folder that holds the recordings")


@dataclass(frozen=True)
class FolderListing:
    """Files below a folder at any depth, including those behind symbolic links.

    Attributes:
      folder: the folder that was listed.
      files: sorted by path, without hidden ones.
      rejected: folders that cannot be entered, dead links, and entries that are neither file nor
        folder (a pipe, a device).
    """

    folder: Path
    files: tuple[Path, ...]
    rejected: tuple[Rejection, ...]

    def with_suffixes(self, suffixes: Collection[str]) -> list[Path]:
        """The files with one of the lower-case suffixes."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def files_named(self, is_wanted: Callable[[str], bool]) -> list[Path]:
        """The files whose lower-case name is accepted by `is_wanted`."""
        return [path for path in self.files if is_wanted(path.name.lower())]

    def ignored_suffixes(self, taken: Iterable[Path]) -> Counter[str]:
        """Suffixes of the files that were not used."""
        return count_suffixes(set(self.files).difference(taken))

    def display_path(self, path: Path) -> str:
        """Path of a file relative to the folder, with slashes."""
        return printable(storage_paths.relative_name(path, self.folder))

    def missing_error(self, what: str) -> UserError:
        """The error for a folder without `what`; lists what it contains instead."""
        seen = (
            [f"passed over: {line}"]
            if (line := format_suffix_counts(self.ignored_suffixes(())))
            else []
        )
        seen += [rejection.reason for rejection in self.rejected[:1]]
        return UserError(f"{self.folder}: {'; '.join([what, *seen])}; check the folder")


def list_folder(source: Path) -> FolderListing:
    """Lists the files below a folder.

    Linked folders are followed. A folder that is reached twice, as in a loop, is listed once, at
    its own place in the tree if it is inside.

    Raises:
      UserError: `source` itself is missing or unreadable.
    """
    check_folder(source)
    return _list_store(source) if storage_paths.is_remote(source) else _Walk(source).listing()


class _Walk:
    """Walks through the folders below one; linked ones come last."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._folders, self._links = [source], list[Path]()
        self._files: list[Path] = []
        self._rejected: list[Rejection] = []

    def listing(self) -> FolderListing:
        entered: set[tuple[int, int]] = set()
        while self._folders or self._links:
            if not self._folders:
                self._links.sort(reverse=True)
                self._folders.append(self._links.pop())
            folder = self._folders.pop()
            try:
                facts = folder.stat()
                if (facts.st_dev, facts.st_ino) in entered:
                    continue
                entered.add((facts.st_dev, facts.st_ino))
                with os.scandir(folder) as entries:
                    for entry in entries:
                        self._sort_in(entry, folder / entry.name)
            except OSError as error:
                if folder == self._source:
                    raise from_os_error(error, self._source) from error
                self._reject_unreadable(folder, error)
        rejected = sorted(self._rejected, key=lambda rejection: rejection.path)
        return FolderListing(self._source, tuple(sorted(self._files)), tuple(rejected))

    def _sort_in(self, entry: os.DirEntry[str], path: Path) -> None:
        if is_hidden(entry.name):
            return
        try:
            mode = entry.stat().st_mode
        except FileNotFoundError:
            self._reject(path, f"{printable(str(path))}: a link that leads nowhere; mend it")
            return
        except OSError as error:
            self._reject_unreadable(path, error)
            return
        if stat.S_ISDIR(mode):
            (self._links if entry.is_symlink() else self._folders).append(path)
        elif stat.S_ISREG(mode):
            self._files.append(path)
        else:
            self._reject(path, f"{printable(str(path))}: neither a file nor a folder; leave it out")

    def _reject_unreadable(self, path: Path, error: OSError) -> None:
        reason = from_os_error(OSError(error.errno, error.strerror), printable(str(path)))
        self._reject(path, str(reason))

    def _reject(self, path: Path, reason: str) -> None:
        name = printable(storage_paths.relative_name(path, self._source))
        self._rejected.append(Rejection(name, reason))


def _list_store(source: Path) -> FolderListing:
    try:
        found = sorted(path for path in source.rglob("*"))
    except OSError as error:
        raise from_os_error(error, source) from error
    shown = [
        path
        for path in found
        if not any(map(is_hidden, storage_paths.relative_name(path, source).split("/")))
    ]
    return FolderListing(source, tuple(path for path in shown if path.is_file()), ())


def find_media(source: Path) -> list[Path]:
    """The recordings in a folder, sorted by path; [] if there are none.

    Raises:
      UserError: the folder is missing or unreadable.
    """
    return list_folder(source).with_suffixes(MEDIA_SUFFIXES)


def list_media(source: Path) -> tuple[FolderListing, list[Path]]:
    """Lists a folder that must contain recordings.

    Raises:
      UserError: the folder is missing, unreadable, or contains no media file.
    """
    listing = list_folder(source)
    found = listing.with_suffixes(MEDIA_SUFFIXES)
    if not found:
        raise listing.missing_error(
            "no media file in this folder (looked for .aac .flac .mp3 .wav .avi .mov .mp4 and more)"
        )
    return listing, found
