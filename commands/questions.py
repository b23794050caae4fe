"""What `predict` asks a model about its inputs: one question a recording, or a line of text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from errors import MediaError, from_os_error

TEXT_SUFFIX = ".txt"
# The name of the answer, and the call that gives it.
Question = tuple[Path, Callable[[], Any]]


def questions_about(path: Path, recognizer: Any, how: tuple[Any, ...]) -> Iterator[Question]:
    """What is asked about one input; of a text, about each of its lines.

    Args:
      how: what a recognizer takes behind the path.
    """
    if path.suffix.lower() != TEXT_SUFFIX:
        yield path, functools.partial(recognizer, path, *how)
        return
    try:
        for name, line in _lines(path):
            yield Path(name), functools.partial(recognizer.read, line, name)
    except MediaError as error:
        yield path, functools.partial(_raise, error)


def _raise(error: Exception) -> None:
    raise error


def _lines(path: Path) -> list[tuple[str, str]]:
    """Name and words of each line that is not blank.

    Raises:
      MediaError: absent, unreadable, not UTF-8, or without any words.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise MediaError(str(from_os_error(error, path))) from error
    except UnicodeDecodeError as error:
        raise MediaError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    found = [(f"{path}:{n}", line) for n, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise MediaError(f"{path}: no words in it; write one utterance a line")
    return found


def files_of(inputs: tuple[Path, ...]) -> Iterator[Path]:
    """The files named, and those that `predict` knows below the folders named."""
    from preprocessing.corpora.media_files import media_files

    for path in inputs:
        if path.is_dir():
            yield from media_files(path)
        else:
            yield path
