"""Download: one file over HTTP, whole and genuine or not at all."""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO

from affectstream.core.atomic_io import atomic_write
from affectstream.core.errors import UserError
from affectstream.opencv_model.checksum import Checksum

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16
MANUAL_DOWNLOAD_HINT = "or download it by hand and give its folder as --weights-dir"

_log = logging.getLogger("affectstream")


def fetch(url: str, path: Path, checksum: Checksum, timeout_s: float = TIMEOUT_S) -> None:
    """Fetches `url` to `path`; nothing is left behind where that fails.

    Args:
      url: where from.
      path: where to; its folder is made.
      checksum: what the file must have.
      timeout_s: longest silence of the server.
    Raises:
      UserError: no network, not found, cut off, wrong checksum, or the folder cannot be written.
    """
    _log.info("fetching %s to %s", url, path)
    with atomic_write(path) as temporary:
        with open(temporary, "wb") as file:
            headers = _receive(url, file, timeout_s)
        _check_transfer(url, temporary, headers)
        value = checksum.of(temporary)
        if value != checksum.value:
            raise UserError(
                f"{url}: weights with a wrong checksum ({checksum.kind} {value}, expected "
                f"{checksum.value} by {checksum.source}), nothing kept; try again,"
                f" {MANUAL_DOWNLOAD_HINT}"
            )


def _receive(url: str, file: IO[bytes], timeout_s: float) -> Message:
    """Writes the body to `file`; returns the headers."""
    with _open(url, timeout_s) as response:
        while chunk := _read(url, response):
            file.write(chunk)
        return response.headers


def _open(url: str, timeout_s: float) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(url, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(
            f"{url}: the server answered {error.code} {error.reason}; try again later,"
            f" {MANUAL_DOWNLOAD_HINT}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"{url}: not reachable ({reason}); go online, {MANUAL_DOWNLOAD_HINT}"
        ) from error


def _read(url: str, response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise UserError(
            f"{url}: the download broke off ({error}); try again, {MANUAL_DOWNLOAD_HINT}"
        ) from error


def _check_transfer(url: str, path: Path, headers: Message) -> None:
    """Compares the received bytes with the Content-Length and Google's MD5 header."""
    num_bytes = path.stat().st_size
    length = headers.get("Content-Length")
    if length is not None and num_bytes != int(length):
        raise UserError(
            f"{url}: the download broke off after {num_bytes} of {length} bytes; "
            f"try again, {MANUAL_DOWNLOAD_HINT}"
        )
    stated = [
        part.strip().removeprefix("md5=")
        for header in headers.get_all("x-goog-hash", [])
        for part in header.split(",")
        if part.strip().startswith("md5=")
    ]
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()
    if stated and base64.b64decode(stated[0]) != md5:
        raise UserError(
            f"{url}: what arrived has another MD5 than the server states; try again,"
            f" {MANUAL_DOWNLOAD_HINT}"
        )
