"""What `predict` asks a model about its inputs: one question a recording, or a line of text."""

from __future__ import annotations

import contextlib
import functools
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectstream.core import storage_paths
from affectstream.core.errors import MediaError, from_os_error
from affectstream.preprocessing.file_kinds import TEXT, TEXT_SUFFIX, endings_of, kind_of

if TYPE_CHECKING:
    from affectstream.preprocessing.clip import Rejection

# The file asked about, the name of the answer, and the call that gives it.
Question = tuple[Path, str, Callable[[], Any]]
# These paths open files of this process only; a worker process cannot open them.
_OF_THIS_PROCESS = ("/dev/std", "/dev/fd/", "/proc/")


@dataclass
class Inputs:
    """What `predict` was given.

    Attributes:
      files: those named, and those below the folders named that can be read.
      below_folders: the latter.
      names: file -> how answers call it, where that is not its path: what came through a pipe
        was copied into a file of ours.
      rejected: what lies below a folder and cannot be entered.
      passed_over: ending -> number of the files of the folders that are not read.
    """

    files: list[Path] = field(default_factory=list)
    below_folders: set[Path] = field(default_factory=set)
    names: dict[Path, str] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def texts(self) -> list[Path]:
        """The files that hold an utterance a line."""
        return [path for path in self.files if kind_of(path) == TEXT]

    @property
    def recordings(self) -> list[Path]:
        """All others."""
        return [path for path in self.files if kind_of(path) != TEXT]

    def without_texts_of_folders(self) -> None:
        """Passes over the texts that nobody named, for a model that knows no words."""
        for path in self.texts:
            if path in self.below_folders:
                self.files.remove(path)
                self.passed_over[TEXT_SUFFIX] += 1


@contextlib.contextmanager
def inputs_of(paths: tuple[Path, ...]) -> Iterator[Inputs]:
    """The files named and those below the folders named, as long as they are asked about.

    Raises:
      UserError: a folder is missing, unreadable, or holds nothing that is read here.
    """
    from affectstream.preprocessing.corpora.media_files import list_folder

    found = Inputs()
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        for path in paths:
            if not path.is_dir():
                file = _copied(path, Path(folder)) if _comes_once(path) else path
                if file != path:
                    found.names[file] = str(path)
                found.files.append(file)
                continue
            listing = list_folder(path)
            files = [file for file in listing.files if kind_of(file)]
            if not files and not listing.rejected:
                raise listing.nothing(
                    "no media file in this folder (looked for sound, video, pictures and .txt)"
                )
            found.files += files
            found.below_folders.update(files)
            found.rejected += listing.rejected
            found.passed_over += endings_of(file for file in listing.files if not kind_of(file))
        yield found


def _comes_once(path: Path) -> bool:
    """Whether a file is a pipe, or opens only in this process."""
    if storage_paths.is_remote(path):
        return False
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    is_own = str(path).startswith(_OF_THIS_PROCESS) and stat.S_ISREG(mode)
    return stat.S_ISFIFO(mode) or is_own


def _copied(path: Path, folder: Path) -> Path:
    """What comes out of a pipe as a file of the same ending.

    Raises:
      UserError: it cannot be read, or the disk is full.
    """
    copy = Path(tempfile.mkdtemp(dir=folder)) / path.name
    try:
        with open(path, "rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise from_os_error(error, path) from error
    return copy


def questions_about(
    path: Path, name: str, recognizer: Any, how: tuple[Any, ...]
) -> Iterator[Question]:
    """What is asked about one input; of a text, about each of its lines.

    Args:
      name: how answers call it; "" for its path.
      how: what a recognizer takes behind the path.
    """
    if kind_of(path) != TEXT:
        asked = functools.partial(recognizer, path, *how, **({"name": name} if name else {}))
        yield path, name or str(path), asked
        return
    name = name or str(path)
    try:
        for line_name, line in _lines(path, name):
            yield path, line_name, functools.partial(recognizer.read, line, line_name)
    except MediaError as error:
        yield path, name, functools.partial(_raise, error)


def rejection_of(rejected: Rejection) -> Question:
    """A job for a folder that cannot be read; it raises the reason."""
    return (
        Path(rejected.path),
        rejected.path,
        functools.partial(_raise, MediaError(rejected.reason)),
    )


def _raise(error: Exception) -> None:
    raise error


def _lines(path: Path, name: str) -> list[tuple[str, str]]:
    """Name and words of each line that is not blank.

    Raises:
      MediaError: absent, unreadable, not UTF-8, a git-lfs pointer, or without any words.
    """
    from affectstream.core import lfs_pointer
    from affectstream.preprocessing.corpora.csv_table import split_lines

    try:
        with storage_paths.open_binary(path) as file:
            data = file.read()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise MediaError(str(from_os_error(error, path))) from error
    except UnicodeDecodeError as error:
        raise MediaError(f"{name}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if lfs_pointer.is_pointer(data):
        raise MediaError(f"{name}: {lfs_pointer.WHAT}")
    found = [(f"{name}:{n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    if not found:
        raise MediaError(f"{name}: no words in it; write one utterance a line")
    return found
