"""Writes one upload to a private file and counts its bytes.

Only the recording is counted here; the whole body, with the form boundaries, is counted by
`security`.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import grpc
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from affectstream.server.errors import ServingError, invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_FIELD = "file"
TEXT_FIELD = "text"  # text, for text models without a recording
NO_NAME = "recording"
MAX_NAME_LETTERS = 120
MAX_FORM_PARTS = 16
MAX_FIELD_BYTES = 1 << 16
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def display_name(client_name: str) -> str:
    """Display name of an uploaded file, from the client's name; never used as a path.

    It is the last path component on any system, without control or invisible characters.
    """
    last = client_name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")
    return shown.strip()[:MAX_NAME_LETTERS].strip() or NO_NAME


class Upload:
    """A body that is written to a private file in a private folder; both are deleted after `with`.

    Args:
      content_type: of the request; a multipart form is parsed, anything else is the file.
      max_bytes: limit of the recording.

    Attributes:
      path: path of the recording; independent of the client's name.
      name: the client's name of the file, if any; for display only.
      fields: form fields without the file.
      has_recording: whether the body holds a recording; a form with the field `text` need not, and
        the empty part that a browser sends without a chosen file does not count.
    """

    def __init__(self, content_type: str, max_bytes: int) -> None:
        kind, params = parse_options_header(content_type)
        self._form: _Form | None = None
        if kind == b"multipart/form-data":
            if not params.get(b"boundary"):
                raise invalid("multipart/form-data without a boundary; let the client set it")
            self._form = _Form(params[b"boundary"], self._write)
        elif kind in (b"application/json", b"multipart/mixed"):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{kind.decode()}: send the recording itself, or a form with the field"
                f" {FILE_FIELD!r}",
                415,
            )
        self._max_bytes = max_bytes
        self._num_written = 0
        self._folder: Path | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            # Mode 0700 for the folder, 0600 for its files.
            self._folder = Path(tempfile.mkdtemp(prefix="affectstream-upload-"))
            self.path = self._folder / "upload"
            number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(number, "wb")
        except OSError as error:
            self._remove()
            raise _not_written(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    @property
    def name(self) -> str:
        return self._form.file_name if self._form is not None else ""

    @property
    def fields(self) -> Mapping[str, str]:
        return self._form.fields if self._form is not None else {}

    @property
    def has_recording(self) -> bool:
        if self._form is None or self._num_written:
            return True
        is_chosen = bool(self._form.file_name) or TEXT_FIELD not in self._form.fields
        return self._form.has_file and is_chosen

    def feed(self, chunk: bytes) -> None:
        """Processes the next chunk of the body.

        Raises:
          ServingError: the body is too large (413), not a form (400), or the disk is full (507).
        """
        if self._form is None:
            self._write(chunk)
        else:
            self._form.feed(chunk)

    def finish(self) -> None:
        """Ends the body; the file is readable afterwards.

        Raises:
          ServingError: it is empty, or a form without the file (400), or the disk is full (507).
        """
        if self._form is not None:
            self._form.finish()
        assert self._file is not None
        try:
            self._file.close()
        except OSError as error:
            raise _not_written(error) from error
        if self.has_recording and self._num_written == 0:
            raise invalid("the recording is empty; send a file with something in it")

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._num_written += len(data)
        if self._num_written > self._max_bytes:
            raise _too_large(self._max_bytes)
        try:
            self._file.write(data)
        except OSError as error:
            raise _not_written(error) from error

    def _remove(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                # Unwritten data are not needed either.
                self._file = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Form:
    """Parses a multipart form as a stream: stores fields, passes the file's bytes on.

    Source: RFC 7578.
    """

    def __init__(self, boundary: bytes, write: Callable[[bytes], None]) -> None:
        self.file_name = ""
        self.fields: dict[str, str] = {}
        self._write = write
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._part = ""
        self._value = b""
        self._num_parts = 0
        self.has_file = self._has_ended = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise _no_form() from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _no_form() from error

    def finish(self) -> None:
        if not self._has_ended:
            raise invalid("the form ends in the middle; send it again")
        if not self.has_file and TEXT_FIELD not in self.fields:
            raise invalid(f"no field {FILE_FIELD!r} in the form; put the recording there")

    # === What the parser calls ===

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": functools.partial(self._add_to_header, 0),
            "on_header_value": functools.partial(self._add_to_header, 1),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_FORM_PARTS:
            raise invalid(f"more than {MAX_FORM_PARTS} fields in the form")
        self._headers, self._header, self._value = {}, [b"", b""], b""

    def _add_to_header(self, place: int, data: bytes, start: int, end: int) -> None:
        self._header[place] += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        _, params = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = _text(params.get(b"name", b""), "name of a field")
        if self._part == FILE_FIELD:
            if self.has_file:
                raise invalid(f"field {FILE_FIELD!r} is there twice; send one recording at a time")
            self.has_file = True
            self.file_name = params.get(b"filename", b"").decode("utf-8", "replace")
        elif self._part in self.fields:
            raise invalid(f"field {self._part[:40]!r} is there twice")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE_FIELD:
            self._write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise invalid(f"field {self._part[:40]!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _end_part(self) -> None:
        if self._part != FILE_FIELD:
            self.fields[self._part] = _text(self._value, f"field {self._part[:40]!r}")

    def _end(self) -> None:
        self._has_ended = True


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"{what}: not UTF-8") from error


def _no_form() -> ServingError:
    return invalid("no multipart/form-data of RFC 7578; let the client set the boundary")


def _too_large(max_bytes: int) -> ServingError:
    return ServingError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"the recording is larger than {max_bytes} bytes; cut or compress it",
        413,
    )


def _not_written(error: OSError) -> ServingError:
    if error.errno in _DISK_FULL:
        return ServingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "the server's disk is full; come again later", 507
        )
    return ServingError(grpc.StatusCode.INTERNAL, "the server cannot keep the recording")
