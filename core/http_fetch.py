"""Downloads files over HTTP: resumable, checked and atomic."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from affectstream.core import atomic_io
from affectstream.core.checksum import Checksum
from affectstream.core.errors import UserError, from_os_error

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 18
RETRY_WAITS_S = (1.0, 4.0, 15.0)
MAX_RESPONSE_BYTES = 64 << 20
_HEADERS = {"User-Agent": "affectstream", "Accept-Encoding": "identity"}
_TRANSIENT = frozenset([408, 416, 425, 429, 500, 502, 503, 504])
T = TypeVar("T")


class TransferError(UserError):
    """The server cannot be reached, refuses, disconnects, or sends another file."""


class TransientError(Exception):
    """A temporary failure; the request is retried."""


class StoppedError(Exception):
    """The caller cancelled the download."""


@dataclass(frozen=True)
class RemoteFile:
    """One file at its publisher.

    Attributes:
      url: source URL.
      num_bytes: size stated by the publisher, or None.
      checksum: checksum stated by the publisher, or None.
    """

    url: str
    num_bytes: int | None = None
    checksum: Checksum | None = None


def fetch(
    remote: RemoteFile,
    path: Path,
    on_bytes: Callable[[int], object] = lambda num_bytes: None,
    stop: threading.Event | None = None,
    once: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Fetches a file to `path`; an interrupted download stays beside it and is resumed.

    Args:
      remote: the file, with its size and checksum.
      path: target; its folder is created. An incomplete file is at `path` + ".part".
      on_bytes: called with the size of each received chunk, negative for discarded bytes.
      stop: set to end the transfer soon.
      once: makes a single attempt, which leaves nothing behind if it fails; several processes may
        fetch the same file.
      timeout_s: longest silence of the server.
    Raises:
      TransferError: not reachable, refused, disconnected in each attempt, or another file.
      UserError: the file cannot be written.
      StoppedError: `stop` was set.
    """
    ending = f"{atomic_io.TEMPORARY_MARK}{uuid.uuid4().hex[:8]}" if once else ".part"
    part = path.with_name(path.name + ending)
    stop = stop or threading.Event()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        md5 = _retrying(
            lambda: _attempt(remote, part, on_bytes, stop, timeout_s), remote.url, stop, part, once
        )
        _check(remote, part, md5)
        part.replace(path)
        _state_path(part).unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, path) from error
    finally:
        if once:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
                _state_path(part).unlink(missing_ok=True)


def fetch_bytes(url: str, stop: threading.Event | None = None) -> bytes:
    """The complete response to a request, in memory.

    Raises:
      TransferError: not reachable, refused, disconnected in each attempt, or longer than 64 MiB.
    """

    def attempt() -> bytes:
        with _open(url, {}) as response:
            data = _read(response, MAX_RESPONSE_BYTES + 1)
            stated = response.headers.get("Content-Length")
        if len(data) > MAX_RESPONSE_BYTES:
            raise TransferError(f"{url}: an answer of more than 64 MiB, too large to be right")
        if stated is not None and len(data) < int(stated):
            raise TransientError(f"broke off after {len(data)} of {stated} bytes")
        return data

    return _retrying(attempt, url, stop or threading.Event())


def fetch_json(url: str) -> Any:
    """The response to a request, as JSON.

    Raises:
      TransferError: as for `fetch_bytes`, or not JSON.
    """
    try:
        return json.loads(fetch_bytes(url))
    except ValueError as error:
        raise TransferError(
            f"{url}: the server answered no JSON ({error}); try again later"
        ) from error


# === One attempt ===


def _retrying(
    attempt: Callable[[], T],
    url: str,
    stop: threading.Event,
    part: Path | None = None,
    once: bool = False,
) -> T:
    waits_s = iter(() if once else RETRY_WAITS_S)
    while True:
        try:
            return attempt()
        except TransientError as error:
            wait_s = next(waits_s, None)
            if wait_s is None:
                got = part.stat().st_size if part and part.exists() and not once else 0
                kept = f", {got} bytes are kept and the same command goes on from there"
                raise TransferError(
                    f"{url}: {error}; try again later{kept if got else ''}"
                ) from error
        if stop.wait(wait_s):
            raise StoppedError


def _attempt(
    remote: RemoteFile,
    part: Path,
    on_bytes: Callable[[int], object],
    stop: threading.Event,
    timeout_s: float,
) -> str:
    """Completes `part`; returns the MD5 stated by the server, or ""."""
    have, validator = _kept(remote, part)
    if have and have == remote.num_bytes:
        on_bytes(have)
        return ""
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with _open(remote.url, headers, part, timeout_s) as response:
        stretch = response.headers.get("Content-Range", "")
        if response.status == 206 and not stretch.startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise TransientError("the server sent another stretch than asked for")
        start = have if response.status == 206 else 0
        _remember(remote, part, response)
        on_bytes(start)
        stated = response.headers.get("Content-Length")
        total = start + int(stated) if stated is not None else remote.num_bytes
        got = start
        with open(part, "ab" if start else "wb") as file:
            try:
                while chunk := _read(response, CHUNK_BYTES):
                    file.write(chunk)
                    got += len(chunk)
                    on_bytes(len(chunk))
                    if stop.is_set():
                        raise StoppedError
                if total is not None and got < total:
                    raise TransientError(f"broke off after {got} of {total} bytes")
            except TransientError:
                on_bytes(-got)
                raise
        return _google_md5(response)


def _open(
    url: str, headers: dict[str, str], part: Path | None = None, timeout_s: float = TIMEOUT_S
) -> http.client.HTTPResponse:
    try:
        request = urllib.request.Request(url, headers={**_HEADERS, **headers})
        return urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and part is not None:
            part.unlink(missing_ok=True)
        text = f"the server answered {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise TransientError(text) from error
        raise TransferError(f"{url}: {text}; see whether the publisher has moved it") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise TransientError(f"not reachable ({reason})") from error
    except ValueError as error:
        raise TransferError(f"{url}: no address ({error}); give one that begins http://") from error


def _read(response: http.client.HTTPResponse, num_bytes: int) -> bytes:
    try:
        return response.read(num_bytes)
    except (http.client.HTTPException, OSError) as error:
        raise TransientError(f"broke off ({error})") from error


# === What an earlier attempt left ===


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _kept(remote: RemoteFile, part: Path) -> tuple[int, str]:
    """Usable bytes of an earlier attempt and the server's version identifier of the file."""
    if not part.is_file():
        return 0, ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        state = json.loads(_state_path(part).read_text(encoding="utf-8"))
        validator = str(state.get("validator", ""))
        too_long = remote.num_bytes is not None and part.stat().st_size > remote.num_bytes
        sure = validator or remote.checksum is not None
        if state.get("url") == remote.url and sure and not too_long:
            return part.stat().st_size, validator
    part.unlink()
    return 0, ""


def _remember(remote: RemoteFile, part: Path, response: http.client.HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    # A weak ETag may not be used with If-Range (RFC 9110, 13.1.5).
    validator = "" if etag.startswith("W/") else etag
    validator = validator or response.headers.get("Last-Modified", "")
    atomic_io.write_json(_state_path(part), {"url": remote.url, "validator": validator})


# === Checking ===


def _google_md5(response: http.client.HTTPResponse) -> str:
    """The MD5 of the whole file stated by Google's storage, in hexadecimal digits; else ""."""
    for stated in ",".join(response.headers.get_all("x-goog-hash", [])).split(","):
        kind, _, value = stated.strip().partition("=")
        if kind == "md5":
            return base64.b64decode(value).hex()
    return ""


def _check(remote: RemoteFile, part: Path, md5: str) -> None:
    wrong, checksum, num_bytes = "", remote.checksum, part.stat().st_size
    if remote.num_bytes is not None and num_bytes != remote.num_bytes:
        wrong = f"a file of wrong length ({num_bytes} bytes, expected {remote.num_bytes})"
    elif checksum is not None and (value := checksum.of(part)) != checksum.value:
        wrong = (
            f"a file with a wrong checksum ({checksum.kind} {value}, expected "
            f"{checksum.value} by {checksum.source})"
        )
    elif md5 and Checksum("md5", md5, "").of(part) != md5:
        wrong = "a file with another MD5 than the server states"
    if wrong:
        part.unlink()
        _state_path(part).unlink(missing_ok=True)
        raise TransferError(f"{remote.url}: {wrong}, nothing kept; try again")
