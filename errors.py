"""What can go wrong that a user can mend, and how it ends the process."""

from __future__ import annotations

import errno

# === Exit codes ===

EXIT_OK = 0
EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_REJECTED = 3
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """A mistake or obstacle that the user can mend.

    The message is one line: what is wrong, naming the file or value received, then the remedy.
    """


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
