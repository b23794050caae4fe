"""Prediction jobs of `predict`: one per recording, or per line of text."""

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

# The input file, its name in the prediction, and the call that predicts.
PredictionJob = tuple[Path, str, Callable[[], Any]]
# These paths open files of this process only; a worker process cannot open them.
_PROCESS_LOCAL_PREFIXES = ("/dev/std", "/dev/fd/", "/proc/")


@dataclass
class PredictInputs:
    """Inputs of `predict`.

    Attributes:
      files: named files, and readable files in the named folders.
      found_in_folders: the files from the folders.
      names: file -> its name in predictions if that is not its path: input from a pipe is copied to
        a temporary file.
      rejected: entries of a folder that cannot be entered.
      ignored_suffixes: suffix -> number of files in the folders that are not read.
    """

    files: list[Path] = field(default_factory=list)
    found_in_folders: set[Path] = field(default_factory=set)
    names: dict[Path, str] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)
    ignored_suffixes: Counter[str] = field(default_factory=Counter)

    @property
    def texts(self) -> list[Path]:
        """The text files with one utterance per line."""
        return [path for path in self.files if media_type(path) == TEXT]

    @property
    def recordings(self) -> list[Path]:
        """All other files."""
        return [path for path in self.files if media_type(path) != TEXT]

    def skip_unnamed_texts(self) -> None:
        """Skips texts found in folders, for a model without a text stream."""
        for path in self.texts:
            if path in self.found_in_folders:
                self.files.remove(path)
                self.ignored_suffixes[TEXT_SUFFIX] += 1


@contextlib.contextmanager
def collect_inputs(paths: tuple[Path, ...]) -> Iterator[PredictInputs]:
    """The files that were named or are in named folders; temporary copies end with the block.

    Raises:
      UserError: a folder is missing, unreadable, or holds no supported file.
    """
    from affectstream.preprocessing.corpora.media_files import list_folder

    inputs = PredictInputs()
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        for path in paths:
            if not path.is_dir():
                file = _copied(path, Path(folder)) if _comes_once(path) else path
                if file != path:
                    inputs.names[file] = str(path)
                inputs.files.append(file)
                continue
            listing = list_folder(path)
            files = [file for file in listing.files if media_type(file)]
            if not files and not listing.rejected:
                raise listing.missing_error(
                    "no media file in this folder (looked for sound, video, pictures and .txt)"
                )
            inputs.files += files
            inputs.found_in_folders.update(files)
            inputs.rejected += listing.rejected
            inputs.ignored_suffixes += count_suffixes(
                file for file in listing.files if not media_type(file)
            )
        yield inputs


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
    """Copies the content of a pipe into a file with the same suffix.

    Raises:
      UserError: the pipe cannot be read, or the disk is full.
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
    """The jobs of one input; for a text file one per line.

    Args:
      name: its name in predictions; "" for its path.
    """
    if media_type(path) != TEXT:
        call = functools.partial(recognizer, path, options, **({"name": name} if name else {}))
        yield path, name or str(path), call
        return
    name = name or str(path)
    try:
        for line_name, line in _lines(path, name):
            yield path, line_name, functools.partial(recognizer.predict_text, line, line_name)
    except MediaError as error:
        yield path, name, functools.partial(_raise, error)


def rejected_job(rejected: Rejection) -> PredictionJob:
    """A job for an unreadable folder; it raises the reason."""
    return (
        Path(rejected.path),
        rejected.path,
        functools.partial(_raise, MediaError(rejected.reason)),
    )


def _raise(error: Exception) -> None:
    raise error


def _lines(path: Path, name: str) -> list[tuple[str, str]]:
    """Name and text of each line that is not blank.

    Raises:
      MediaError: absent, unreadable, not UTF-8, a git-lfs pointer, or without text.
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
    lines = [(f"{name}:{n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    if not lines:
        raise MediaError(f"{name}: no words in it; write one utterance a line")
    return lines
