"""What can go wrong that a user can mend, and how it ends the process."""

from __future__ import annotations

import errno
import os
import re
import unicodedata

# === Exit codes ===

EXIT_OK = 0
EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_REJECTED = 3
EXIT_INTERRUPTED = 130


# Of a message; a value received may be a cell of a million letters.
LONGEST_LINE = 1000


def one_line(text: str) -> str:
    """The text with control characters spelt out, its middle left out where it is very long."""
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"
    if text.isprintable():
        return text
    return "".join(letter if not _is_control(letter) else repr(letter)[1:-1] for letter in text)


def counted(count: int, noun: str) -> str:
    """A number and what is counted, as "1 window", "2 windows", "2 copies"."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {plural}"


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


class UserError(Exception):
    """A mistake or obstacle that the user can mend.

    The message is one line: what is wrong, naming the file or value received, then the remedy.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MediaError(UserError):
    """One input file cannot be read; the others can go on without it."""


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


# As TensorFlow tells it, whose errors are none of the operating system's; it writes to temporary
# names of its own.
_NO_SPACE = re.compile(rf"(/[^{{}}]*?)(?:\.tempstate\d+)?; {os.strerror(errno.ENOSPC)}")


def from_full_disk(error: Exception) -> UserError | None:
    """One line where a library's error says that the disk is full; None for any other."""
    found = _NO_SPACE.search(str(error))
    return from_os_error(OSError(errno.ENOSPC, "", found[1])) if found else None


def from_os_error(error: OSError, path: object = None) -> UserError:
    """Turns an operating-system error into one line that names the file and the remedy.

    Args:
      error: the error as raised.
      path: what was being read or written, when the error itself does not say.
    """
    where = error.filename or path or "file"
    # Of an object store they have a type, but not always a number.
    code = error.errno or next((n for kind, n in _NUMBERS.items() if isinstance(error, kind)), 0)
    what, remedy = _REMEDIES.get(code, (error.strerror or str(error), "see the message"))
    return UserError(f"{where}: {what}; {remedy}")
