"""Messages between the server and its workers; no pickle, so that received data is never run.

A message is its length (8 bytes, big-endian), the length of its header (4 bytes), the header, then
the bytes of the arrays one after another. The header is JSON: `kind`, `body`, and of each array a
name, a type and its shape; strings stand in the header in place of a shape.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

MAX_MESSAGE_BYTES = 256 << 20
# An answer of 6000 windows is 5 MiB; JSON takes ten times its size once it is read.
MAX_HEADER_BYTES = 32 << 20
STRINGS = "strings"
DTYPES = ("|b1", "|u1", "<i4", "<i8", "<f4", "<f8")
MAX_DIMENSIONS = 8
CHUNK_BYTES = 1 << 20
_LENGTH_BYTES = 8
_HEADER_LENGTH_BYTES = 4


class MessageError(ValueError):
    """The received or outgoing data is not a valid message."""


class MessageTooLongError(MessageError):
    """The message is longer than both sides agreed upon."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
      body: anything of JSON.
      arrays: of any shape, of `DTYPES`; or of bytes objects that are UTF-8, (rows,).
    """

    kind: str
    body: Any = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Channel:
    """One end of a socket pair.

    Args:
      end: is closed by `close`.
      poll_interval_s: how often `on_poll` is called while nothing can be sent or read; None: never.
      max_bytes: of one message.
    """

    def __init__(
        self,
        end: socket.socket,
        poll_interval_s: float | None = None,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._end = end
        self._end.settimeout(poll_interval_s)
        self._max_bytes = max_bytes

    def send(
        self,
        kind: str,
        body: Any = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Sends all of a message.

        Args:
          on_poll: called between its pieces; what it raises ends the sending in the middle.
        Raises:
          MessageError: it holds what no message may; nothing is sent then.
          ConnectionError: the other side is gone.
        """
        for part in _parts(Message(kind, body, dict(arrays or {})), self._max_bytes):
            left = memoryview(part)
            while left:
                on_poll()
                try:
                    left = left[self._end.send(left[:CHUNK_BYTES]) :]
                except TimeoutError:
                    continue

    def receive(self, on_poll: Callable[[], None] = lambda: None) -> Message:
        """Waits for a whole message.

        Args:
          on_poll: as of `send`; it is called however slowly the bytes come.
        Raises:
          MessageError: what came is none, or is longer than `max_bytes`.
          EOFError, ConnectionError: the other side is gone.
        """
        length = int.from_bytes(self._read(_LENGTH_BYTES, on_poll), "big")
        if length > self._max_bytes:
            raise MessageTooLongError(f"a message of {length} bytes, at most {self._max_bytes}")
        return decode_message(self._read(length, on_poll))

    def _read(self, num_bytes: int, on_poll: Callable[[], None]) -> bytearray:
        # Grows as bytes come: a length alone costs no memory.
        data = bytearray()
        while len(data) < num_bytes:
            on_poll()
            try:
                piece = self._end.recv(min(num_bytes - len(data), CHUNK_BYTES))
            except TimeoutError:
                continue
            if not piece:
                raise EOFError
            data += piece
        return data

    def close(self) -> None:
        """Ends it; the other side reads to the end of what was sent."""
        self._end.close()


# === Writing ===


def _parts(message: Message, max_bytes: int) -> list[bytes | memoryview]:
    array_specs, buffers = [], []
    for name, array in message.arrays.items():
        if array.dtype == object:
            array_specs.append([name, STRINGS, [_string(name, value) for value in array]])
            continue
        if array.dtype.str not in DTYPES:
            raise MessageError(f"{name}: {array.dtype} is not sent")
        array_specs.append([name, array.dtype.str, list(array.shape)])
        buffers.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    try:
        header = json.dumps(
            {"kind": message.kind, "body": message.body, "arrays": array_specs}, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        raise MessageError(f"{message.kind}: {error}") from error
    length = _HEADER_LENGTH_BYTES + len(header) + sum(len(buffer) for buffer in buffers)
    if length > max_bytes or len(header) > MAX_HEADER_BYTES:
        raise MessageTooLongError(f"{message.kind}: {length} bytes, at most {max_bytes}")
    lengths = length.to_bytes(_LENGTH_BYTES, "big") + len(header).to_bytes(4, "big")
    return [lengths + header, *buffers]


def encode_message(message: Message) -> bytes:
    """The whole of a message as it is sent, its length first.

    Raises:
      MessageError: it holds what no message may.
    """
    return b"".join(_parts(message, MAX_MESSAGE_BYTES))


def _string(name: str, value: Any) -> str:
    if not isinstance(value, bytes):
        raise MessageError(f"{name}: only bytes are sent of objects")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"{name}: not UTF-8") from error


# === Reading ===


def decode_message(data: bytes | bytearray) -> Message:
    """Reads what follows the length.

    Raises:
      MessageError: anything about it is not as `encode_message` writes it.
    """
    end = _HEADER_LENGTH_BYTES + int.from_bytes(data[:_HEADER_LENGTH_BYTES], "big")
    if not _HEADER_LENGTH_BYTES < end <= len(data):
        raise MessageError("the header is longer than the message")
    if end > MAX_HEADER_BYTES:
        raise MessageTooLongError(f"a header of {end} bytes, at most {MAX_HEADER_BYTES}")
    try:
        header = json.loads(data[_HEADER_LENGTH_BYTES:end], parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MessageError("the header is no JSON") from error
    if not isinstance(header, dict) or set(header) != {"kind", "body", "arrays"}:
        raise MessageError("the header has other fields")
    if not isinstance(header["kind"], str) or not isinstance(header["arrays"], list):
        raise MessageError("the header has fields of other types")
    arrays = dict(_arrays(header["arrays"], data, end))
    if len(arrays) != len(header["arrays"]):
        raise MessageError("an array is there twice")
    return Message(header["kind"], header["body"], arrays)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _arrays(
    array_specs: list[Any], data: bytes | bytearray, start: int
) -> Iterator[tuple[str, np.ndarray]]:
    for one in array_specs:
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[0], str):
            raise MessageError("an array without name, type and shape")
        name, kind, shape = one
        if kind == STRINGS:
            yield name, _strings(name, shape)
            continue
        if kind not in DTYPES or not _is_shape(shape):
            raise MessageError(f"{name[:40]}: no type and shape of an array")
        dtype, num_items = np.dtype(kind), math.prod(shape)
        end = start + num_items * dtype.itemsize
        if end > len(data):
            raise MessageError(f"{name[:40]}: longer than the message")
        if dtype == np.bool_:
            flat = np.frombuffer(data, np.uint8, num_items, start) != 0
        else:
            flat = np.frombuffer(data, dtype, num_items, start).copy()
        yield name, flat.reshape(shape)
        start = end
    if start != len(data):
        raise MessageError("bytes are left behind the arrays")


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        return False
    return all(type(size) is int and 0 <= size <= MAX_MESSAGE_BYTES for size in shape)


def _strings(name: str, values: Any) -> np.ndarray:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise MessageError(f"{name[:40]}: no strings")
    strings = np.empty(len(values), object)
    try:
        strings[:] = [value.encode() for value in values]
    except UnicodeEncodeError as error:
        raise MessageError(f"{name[:40]}: not UTF-8") from error
    return strings
