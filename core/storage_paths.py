"""Paths on a disk or URLs of an object store, both as `pathlib.Path`.

Source: universal_pathlib and fsspec, which define these URLs (`s3://bucket/key`, `gs://...`).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import affectstream
from affectstream.core.errors import UserError, from_os_error

# Bundled models; only `benchmarks.accuracy.pretrained` writes there.
BUNDLED_MODELS_DIR = (Path(affectstream.__file__).parent / "pretrained").resolve()
_MARK = "://"
# Protocols without folders: the user must download a file from there first.
_NO_STORES = frozenset(("http", "https", "ftp", "ftps", "sftp", "ssh", "scp", "rtsp", "rtmp"))
# Packages whose errors mean that the object store was not reachable or refused access.
_STORES = frozenset(("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "fsspec"))
# Block cache of a remote file, so that a recording that is read twice is fetched once.
_BLOCK_BYTES, _NUM_BLOCKS = 4 << 20, 32
# Uploaded last, because a server treats this file as the sign of a complete folder.
_LAST = "saved_model.pb"


def is_url(text: str) -> bool:
    """Whether the text is a URL instead of a path."""
    return _MARK in text


def storage_path(text: str | os.PathLike[str], use_listings_cache: bool = False) -> Path:
    """The path object of a path or URL; makes no request.

    Args:
      use_listings_cache: keeps folder listings for the rest of the process, so that 10,000
        recordings need no separate requests; for data that do not change meanwhile.
    Raises:
      UserError: a URL of an unknown kind, or its packages are not installed.
    """
    if isinstance(text, Path):
        return text
    if not is_url(str(text)):
        return Path(text)
    url = str(text)
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    if url.partition(_MARK)[0].lower() in _NO_STORES:
        raise UserError(
            f"{url}: not read over the network; download it first and name the file, or give a"
            " store's s3://, gs:// or a path"
        )
    try:
        from upath import UPath

        path: Any = UPath(url, use_listings_cache=use_listings_cache)
        _ = path.fs
    except ImportError as error:
        raise UserError(f"{url}: {error}; pip install -r requirements-cloud.txt") from error
    except ValueError as error:
        raise UserError(f"{url}: {error}; give s3://, gs://, file:// or a path") from error
    return cast(Path, path)


def is_remote(path: Path) -> bool:
    """Whether a path is in an object store."""
    return hasattr(path, "storage_options")


def store_error_message(error: BaseException) -> str:
    """One line with a remedy for an error of the store's client; "" for any other error."""
    if type(error).__module__.partition(".")[0] not in _STORES:
        return ""
    what = " ".join(str(error).split()) or type(error).__name__
    remedy = "run the same command again"
    if "redential" in f"{type(error).__name__} {what}":
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in as the store asks"
    elif "endpoint" in what:
        remedy = "check the network and AWS_ENDPOINT_URL"
    return f"{what}; {remedy}"


@contextlib.contextmanager
def wrap_store_errors(path: Path) -> Iterator[None]:
    """Turns errors of the store into a UserError that names `path`."""
    try:
        yield
    except Exception as error:
        if not (line := store_error_message(error)):
            raise
        raise UserError(f"{path}: {line}") from error


def is_bundled(path: Path) -> bool:
    """Whether a path is inside the folder of the bundled models."""
    return not is_remote(path) and path.resolve().is_relative_to(BUNDLED_MODELS_DIR)


def require_outside_bundled(path: Path) -> None:
    """Raises UserError if `path` is inside the bundled models."""
    if is_bundled(path):
        raise UserError(
            f"{path}: lies in the folder of the bundled models, which are read-only; name another"
        )


def require_reachable(path: Path) -> None:
    """Checks that the store of a path answers, whether or not the file exists.

    Raises:
      UserError: no credentials, no network, or no permission.
    """
    if is_remote(path):
        try:
            with wrap_store_errors(path):
                path.exists()
        except OSError as error:
            raise from_os_error(error, path) from error


def relative_name(path: Path, folder: Path) -> str:
    """Name of `path` within `folder`, with slashes."""
    if not is_remote(path):
        return path.relative_to(folder).as_posix()
    return str(path).removeprefix(str(folder).rstrip("/") + "/")


def file_fingerprint(path: Path) -> str:
    """Fingerprint of a file version: its size, and its mtime or the store's ETag."""
    if not is_remote(path):
        found = path.stat() if path.exists() else None
        return f"{found.st_size}/{found.st_mtime_ns}" if found else "absent"
    facts = _facts(path)
    if facts is None:
        return "absent"
    tags = ("ETag", "etag", "md5Hash", "LastModified", "updated")
    return f"{facts['size']}/{next((facts[key] for key in tags if key in facts), '')}"


def num_bytes(path: Path) -> int:
    """Size of a file in bytes; 0 if it does not exist."""
    if not is_remote(path):
        return path.stat().st_size if path.exists() else 0
    return int((_facts(path) or {"size": 0})["size"] or 0)


def _facts(path: Path) -> dict[str, Any] | None:
    """Metadata of a file in the store; None if it does not exist."""
    remote: Any = path
    with wrap_store_errors(path):
        if remote.storage_options["use_listings_cache"]:
            return _listing(path.parent).get(remote.path)
        try:
            return dict(remote.fs.info(remote.path))
        except FileNotFoundError:
            return None


@functools.lru_cache(maxsize=1024)
def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Direct children of a folder in the store, by name; requested once per process."""
    remote: Any = folder
    try:
        return {one["name"]: one for one in remote.fs.ls(remote.path, detail=True)}
    except FileNotFoundError:
        return {}


def make_folder(path: Path) -> None:
    """Creates a folder and its parents; an object store has no folders."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_tree(path: Path) -> None:
    """Removes a folder with all its contents, if it exists."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with wrap_store_errors(path):
        remote: Any = path
        if path.exists():
            remote.fs.rm(remote.path, recursive=True)


# === Reading ===


class _Stream(io.BufferedIOBase):
    """A remote file; read errors become a UserError that names it and asks to retry."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        try:
            return bytes(self._file.read(-1 if size is None else size))
        except Exception as error:
            what = " ".join(str(error).split()) or type(error).__name__
            line = f"{self._path}: reading broke off ({what}); run the same command again"
            raise UserError(line) from error

    read1 = read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


def open_binary(path: Path) -> io.BufferedIOBase:
    """Opens a file for reading; blocks of a remote file are fetched on demand.

    Raises:
      OSError: absent, or not readable.
      UserError: the store cannot be reached; also from `read`, if it disconnects.
    """
    if not is_remote(path):
        return open(path, "rb")
    remote: Any = path
    with wrap_store_errors(path):
        file = remote.open(
            "rb",
            block_size=_BLOCK_BYTES,
            cache_type="blockcache",
            cache_options={"maxblocks": _NUM_BLOCKS},
        )
    return _Stream(file, path)


@contextlib.contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yields a local path: the path itself, or a temporary copy of a remote file or folder.

    Raises:
      OSError: absent.
      UserError: the store cannot be reached.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        copy = Path(folder) / path.name
        _download(path, copy)
        yield copy


def fetch_to_local(path: Path, *beside: Path) -> Path:
    """As `local_copy` until the program ends; also copies files `beside` it."""
    if not is_remote(path):
        return path
    folder = local_work_folder(path)
    for one in (path, *beside):
        _download(one, folder / one.name)
    return folder / path.name


def local_work_folder(path: Path) -> Path:
    """A folder that libraries can write to: `path` itself, or a temporary one for a remote path.

    The caller must `upload` the files to be kept.
    """
    if not is_remote(path):
        return path
    folder = tempfile.mkdtemp(prefix="affectstream-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _download(path: Path, target: Path) -> None:
    remote: Any = path
    with wrap_store_errors(path):
        if not path.exists():
            raise UserError(f"{path}: not found; check the URL")
        remote.fs.get(remote.path, str(target), recursive=path.is_dir())


# === Writing ===


def upload(source: Path, target: Path) -> None:
    """Copies a file or folder; in a store each file appears complete or not at all.

    Raises:
      OSError: the store refuses.
      UserError: the store cannot be reached.
    """
    if not is_remote(target):
        copy = shutil.copyfile if source.is_file() else shutil.copytree
        copy(source, target)
        return
    remote: Any = target
    with wrap_store_errors(target):
        if source.is_file():
            remote.fs.put_file(str(source), remote.path)
            return
        files = [file for file in source.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda f: (f.name == _LAST, -len(f.parts), f)):
            inner = file.relative_to(source).as_posix()
            remote.fs.put_file(str(file), f"{remote.path}/{inner}")
