"""Errors that the user can fix, and the exit codes of the program."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections.abc import Sequence

# === Exit codes ===

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130


# Characters of a message; a received value may be a table cell of a million characters.
MAX_MESSAGE_LENGTH = 1000


def one_line(text: str) -> str:
    """Escapes control characters, and shortens a very long text in the middle."""
    if len(text) > MAX_MESSAGE_LENGTH:
        text = f"{text[: MAX_MESSAGE_LENGTH // 2]} ... {text[-MAX_MESSAGE_LENGTH // 2 :]}"
    if text.isprintable():
        return text
    return "".join(letter if not _is_control(letter) else repr(letter)[1:-1] for letter in text)


def pluralize(count: int, noun: str) -> str:
    """A count with its noun in the right number: "1 window", "2 windows", "2 copies"."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {plural}"


def format_names(names: Sequence[str], most: int = 3) -> str:
    """The first names in one line, followed by the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


class UserError(Exception):
    """A mistake or obstacle that the user can fix.

    The message is one line: the file or value, what is wrong with it, and the remedy.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MediaError(UserError):
    """One input file cannot be read; other files are not affected."""


_REMEDIES = {
    errno.ENOSPC: ("disk full", "free some space and run the same command again"),
    errno.EFBIG: ("disk full", "free some space and run the same command again"),
    errno.EDQUOT: ("disk quota reached", "free some space and run the same command again"),
    errno.EACCES: ("no permission", "choose another folder or change its permissions"),
    errno.EPERM: ("no permission", "choose another folder or change its permissions"),
    errno.EROFS: ("read-only file system", "choose another folder"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose another path"),
    errno.ENOENT: ("not found", "check the path"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another path"),
    errno.EISDIR: ("a folder stands where a file is needed", "choose another path"),
}
_NUMBERS = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}


# TensorFlow's text for a full disk: it raises no OSError, and it names its temporary files.
_NO_SPACE = re.compile(rf"(/[^{{}}]*?)(?:\.tempstate\d+)?; {os.strerror(errno.ENOSPC)}")


def from_disk_full_error(error: Exception) -> UserError | None:
    """One line if a library's error is about a full disk; None for any other error."""
    match = _NO_SPACE.search(str(error))
    return from_os_error(OSError(errno.ENOSPC, "", match[1])) if match else None


def from_os_error(error: OSError, path: object = None) -> UserError:
    """Turns an operating-system error into one line that names the file and the remedy.

    Args:
      error: the error as raised.
      path: the file that was read or written, used when the error names none.
    """
    where = error.filename or path or "file"
    # Errors of an object store have a type, but not always an errno.
    code = error.errno or next((n for kind, n in _NUMBERS.items() if isinstance(error, kind)), 0)
    what, remedy = _REMEDIES.get(code, (error.strerror or str(error), "see the message"))
    return UserError(f"{where}: {what}; {remedy}")
