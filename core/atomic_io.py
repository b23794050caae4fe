"""Atomic file I/O: files are written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import lfs_pointer, storage_paths
from affectstream.core.errors import UserError, from_os_error

TEMPORARY_MARK = ".part-"
_TEMPDIR_PREFIX = "affectstream-run-"
_LOCK = "lock"
# Ray looks for running clusters in this folder; its socket paths contain it and must be short.
_RAY_TMPDIR_VARIABLE = "RAY_TMPDIR"
_MPLCONFIGDIR_VARIABLE = "MPLCONFIGDIR"
# Linux lists named semaphores here.
_SEMAPHORES = Path("/dev/shm")
_DIGEST = "digest"
# Temporary names of `atomic_write` and `tempfile`; a user may have a file talk.part-1.mp4.
_LEFTOVER = re.compile(rf"{re.escape(TEMPORARY_MARK)}[a-z0-9_]{{8}}(\..*)?$")
_TAB_SUFFIXES = (".tsv", ".tab")

# Python's default limit, 131,072 characters per cell, is too small for long transcripts.
csv.field_size_limit(2**31 - 1)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same ending), renamed on success, removed on failure.

    Works for a file, and for a folder that does not exist yet. For an object store the temporary
    copy is on the local disk and is uploaded on success.

    Raises:
      UserError: the disk is full, the folder cannot be written, ...
    """
    final = storage_paths.storage_path(path)
    if storage_paths.is_remote(final):
        with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
            yield Path(folder) / final.name
            try:
                storage_paths.upload(Path(folder) / final.name, final)
            except OSError as error:
                raise from_os_error(error, final) from error
        return
    temporary = final.with_name(f"{final.stem}{TEMPORARY_MARK}{uuid.uuid4().hex[:8]}{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(final)
    except OSError as error:
        raise from_os_error(error, final) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()


def remove_stale_temporaries(folder: str | os.PathLike[str]) -> None:
    """Removes temporary files that a killed run left directly in `folder`."""
    if storage_paths.is_remote(there := storage_paths.storage_path(folder)):
        return  # uploaded files appear only when they are complete
    for path in there.glob(f"*{TEMPORARY_MARK}*"):
        if not is_temporary_name(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_temporary_name(path: Path) -> bool:
    """Whether a name has the form of our temporary names."""
    return bool(_LEFTOVER.search(path.name))


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Locks `folder` against other runs of this program on this machine.

    Creates the folder if it is missing, and removes it at the end if it stayed empty. The lock
    ends with the process, even if that is killed. Object stores and some network file systems
    have no locks; nothing is locked there.

    Raises:
      UserError: another program holds the lock, or the folder cannot be created.
    """
    if storage_paths.is_remote(there := storage_paths.storage_path(folder)):
        yield
        return
    missing = [path for path in (there, *there.parents) if not path.exists()]
    try:
        lock = _locked(there)
    except BlockingIOError as error:
        raise UserError(
            f"{there}: another program is writing there; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise from_os_error(error, there) from error
    try:
        yield
    finally:
        os.close(lock)
        with contextlib.suppress(OSError):  # stops at the first folder that is not empty
            for path in missing:
                path.rmdir()


def _locked(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise
        except OSError:
            pass  # cannot be locked here
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), folder.stat()):
                return lock
        os.close(lock)  # another program removed the empty folder


@contextlib.contextmanager
def private_tempdir() -> Iterator[None]:
    """Gives this process its own temporary folder, which libraries use as well.

    The folder is removed at the end. Folders of killed programs are removed now, and with them
    the named semaphores that their resource tracker did not remove. A folder is in use as long as
    its file `lock` is locked, which ends with the process. If the folder cannot be created (disk
    full), the usual temporary folder is used.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = tempfile.gettempdir()
    before = {
        name: os.environ.get(name)
        for name in ("TMPDIR", _RAY_TMPDIR_VARIABLE, _MPLCONFIGDIR_VARIABLE)
    }
    _remove_stale_tempdirs(Path(usual))
    try:
        folder, lock = _locked_folder()
    except OSError:
        yield
        return
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    os.environ.setdefault(_RAY_TMPDIR_VARIABLE, before["TMPDIR"] or usual)
    if not _is_writable(_matplotlib_config_dir()):
        # Otherwise matplotlib uses a folder inside ours, and warns at exit that it is gone.
        os.environ[_MPLCONFIGDIR_VARIABLE] = str(folder / "matplotlib")
    # Private, but the only place that names semaphores. They outlive a killed program; with our
    # folder's name in theirs, the next program can identify them.
    naming: dict[str, str] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    prefix = naming["semprefix"]
    naming["semprefix"] = f"/{folder.name}"
    try:
        yield
    finally:
        naming["semprefix"] = prefix
        tempfile.tempdir = usual
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _matplotlib_config_dir() -> Path:
    """The folder of matplotlib's settings and fonts, which need not exist."""
    if told := os.environ.get(_MPLCONFIGDIR_VARIABLE):
        return Path(told)
    above = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    return Path(above) / "matplotlib"


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written to, or created."""
    # Not `Path.exists`, which raises if a parent folder cannot be entered.
    there = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    try:
        # Tests by writing: root passes permission checks even if writing fails (/proc, read-only).
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPDIR_PREFIX))
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)  # another program removed it as stale


def _remove_stale_tempdirs(place: Path) -> None:
    for folder in place.glob(f"{_TEMPDIR_PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, or another user's
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for semaphore in _SEMAPHORES.glob(f"sem.{folder.name}-*"):
                    semaphore.unlink()
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], remedy: str = "write it again") -> Any:
    """Reads JSON.

    Raises:
      UserError: absent, unreadable or damaged; the message contains `remedy`.
    """
    try:
        with storage_paths.wrap_store_errors(storage_paths.storage_path(path)):
            return json.loads(storage_paths.storage_path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise from_os_error(error, path) from error
    except ValueError as error:
        lfs_pointer.require_not_pointer(storage_paths.storage_path(path))
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error


def write_checksummed_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """As `write_json`, with a digest that `read_checksummed_json` verifies."""
    write_json(path, with_digest(value))


def with_digest(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with a digest of the rest as its last key."""
    own = {key: held for key, held in value.items() if key != _DIGEST}
    return {**own, _DIGEST: digest(own)}


def read_checksummed_json(path: str | os.PathLike[str], remedy: str = "write it again") -> Any:
    """Reads a file of `write_checksummed_json` as a dict.

    Args:
      remedy: advice to the user if the file is damaged.
    Raises:
      UserError: absent, damaged or changed by hand; the message contains `remedy`.
    """
    value = read_json(path, remedy)
    if not isinstance(value, dict) or value.pop(_DIGEST, "") != digest(value):
        raise UserError(f"{path}: damaged, not what was written; {remedy}")
    return value


def read_cached_json(path: Path) -> dict[str, Any]:
    """Content of a cache file; empty if it is absent or damaged, so that it is computed again."""
    if not path.is_file():
        return {}
    try:
        held = read_json(path)
    except UserError:
        return {}
    return held if isinstance(held, dict) else {}


def write_csv(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    """Writes rows under `columns` as UTF-8 CSV, atomically; a .tsv is tab-separated."""
    delimiter = "\t" if Path(path).suffix.lower() in _TAB_SUFFIXES else ","
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def digest(value: Any) -> str:
    """A short stable digest of a JSON value: 16 hex digits of the SHA-256 of its canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with storage_paths.open_binary(storage_paths.storage_path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
