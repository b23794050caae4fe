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
from affectstream.preprocessing.file_kinds import TEXT, TEXT_SUFFIX, count_suffixes, media_type

if TYPE_CHECKING:
    from affectstream.preprocessing.clip import Rejection
    from affectstream.serving.inference.predict_options import PredictOptions

# The file asked about, the name of the answer, and the call that gives it.
PredictionJob = tuple[Path, str, Callable[[], Any]]
# These paths open files of this process only; a worker process cannot open them.
_PROCESS_LOCAL_PREFIXES = ("/dev/std", "/dev/fd/", "/proc/")


@dataclass
class PredictInputs:
    """What `predict` was given.

    Attributes:
      files: those named, and those below the folders named that can be read.
      found_in_folders: the latter.
      names: file -> how answers call it, where that is not its path: what came through a pipe
        was copied into a file of ours.
      rejected: what lies below a folder and cannot be entered.
      ignored_suffixes: ending -> number of the files of the folders that are not read.
    """

    files: list[Path] = field(default_factory=list)
    found_in_folders: set[Path] = field(default_factory=set)
    names: dict[Path, str] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)
    ignored_suffixes: Counter[str] = field(default_factory=Counter)

    @property
    def texts(self) -> list[Path]:
        """The files that hold an utterance a line."""
        return [path for path in self.files if media_type(path) == TEXT]

    @property
    def recordings(self) -> list[Path]:
        """All others."""
        return [path for path in self.files if media_type(path) != TEXT]

    def skip_unnamed_texts(self) -> None:
        """Passes over the texts that nobody named, for a model that knows no words."""
        for path in self.texts:
            if path in self.found_in_folders:
                self.files.remove(path)
                self.ignored_suffixes[TEXT_SUFFIX] += 1


@contextlib.contextmanager
def collect_inputs(paths: tuple[Path, ...]) -> Iterator[PredictInputs]:
    """The files named and those below the folders named, as long as they are asked about.

    Raises:
      UserError: a folder is missing, unreadable, or holds nothing that is read here.
    """
    from affectstream.preprocessing.corpora.media_files import list_folder

    found = PredictInputs()
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        for path in paths:
            if not path.is_dir():
                file = _copied(path, Path(folder)) if _comes_once(path) else path
                if file != path:
                    found.names[file] = str(path)
                found.files.append(file)
                continue
            listing = list_folder(path)
            files = [file for file in listing.files if media_type(file)]
            if not files and not listing.rejected:
                raise listing.missing_error(
                    "no media file in this folder (looked for sound, video, pictures and .txt)"
                )
            found.files += files
            found.found_in_folders.update(files)
            found.rejected += listing.rejected
            found.ignored_suffixes += count_suffixes(
                file for file in listing.files if not media_type(file)
            )
        yield found


def _comes_once(path: Path) -> bool:
    """Whether a file is a pipe, or opens only in this process."""
    if storage_paths.is_remote(path):
        return False
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    is_own = str(path).startswith(_PROCESS_LOCAL_PREFIXES) and stat.S_ISREG(mode)
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


def prediction_jobs(
    path: Path, name: str, recognizer: Any, options: PredictOptions
) -> Iterator[PredictionJob]:
    """What is asked about one input; of a text, about each of its lines.

    Args:
      name: how answers call it; "" for its path.
    """
    if media_type(path) != TEXT:
        asked = functools.partial(recognizer, path, options, **({"name": name} if name else {}))
        yield path, name or str(path), asked
        return
    name = name or str(path)
    try:
        for line_name, line in _lines(path, name):
            yield path, line_name, functools.partial(recognizer.predict_text, line, line_name)
    except MediaError as error:
        yield path, name, functools.partial(_raise, error)


def rejected_job(rejected: Rejection) -> PredictionJob:
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
        raise MediaError(f"{name}: {lfs_pointer.POINTER_MESSAGE}")
    found = [(f"{name}:{n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    if not found:
        raise MediaError(f"{name}: no words in it; write one utterance a line")
    return found
