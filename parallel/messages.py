"""Messages between processes that do not trust each other; without pickle, so nothing is executed.

A message is a frame of the channel in msgpack, [kind, body, {name: array}], followed by one frame
with the bytes of each array. The first frame holds [type, shape] for a numeric array, and a string
array itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgpack
import numpy as np

MAX_MESSAGE_BYTES = 256 << 20
# A response of 6000 windows has 5 MiB; parsing may take 70 times its size.
MAX_HEADER_BYTES = 16 << 20
DTYPES = {name: np.dtype(name) for name in ("|b1", "|u1", "<i4", "<i8", "<f4", "<f8")}
MAX_DIMENSIONS = 8
# Exceptions of packing, unpacking and conversion for invalid content.
_INVALID = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class MessageError(Exception):
    """The received or outgoing data is not a valid message."""


class MessageTooLongError(MessageError):
    """The message is longer than both sides allow."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
      body: any JSON value, with integers of 64 bits.
      arrays: of any shape, of `DTYPES`; or of bytes objects that are UTF-8, (rows,).
    """

    kind: str
    body: Any
    arrays: dict[str, np.ndarray]


def send(
    channel: Connection, kind: str, body: Any = None, arrays: Mapping[str, np.ndarray] | None = None
) -> None:
    """Sends a message.

    Raises:
      MessageError: invalid content; then nothing is sent.
      EOFError: the other side is gone.
    """
    named_arrays = arrays or {}
    try:
        json.dumps(body, allow_nan=False)  # msgpack would also accept NaN and bytes
        specs = {name: _spec(array) for name, array in named_arrays.items()}
        header = msgpack.packb([kind, body, specs])
    except _INVALID as error:
        raise MessageError(f"{kind}: {error}") from error
    buffers = [
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for array in named_arrays.values()
        if array.dtype != object
    ]
    num_bytes = len(header) + sum(len(buffer) for buffer in buffers)
    if num_bytes > MAX_MESSAGE_BYTES or len(header) > MAX_HEADER_BYTES:
        raise MessageTooLongError(f"{kind}: {num_bytes} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        for frame in (header, *buffers):
            channel.send_bytes(frame)
    except OSError as error:
        raise EOFError from error


def _spec(array: np.ndarray) -> list[Any]:
    if array.dtype == object:
        return [value.decode() for value in array]
    if array.dtype.str not in DTYPES:
        raise TypeError(f"{array.dtype} is not sent")
    return [array.dtype.str, list(array.shape)]


def receive(channel: Connection) -> Message:
    """Waits for a complete message.

    Raises:
      MessageError: not a valid message, or too long.
      EOFError: the other side is gone.
    """
    header = _frame(channel, MAX_HEADER_BYTES)
    try:
        kind, body, specs = msgpack.unpackb(header)
        json.dumps(body, allow_nan=False)
        if type(kind) is not str:
            raise TypeError("a kind that is no string")
        arrays, num_left = {}, MAX_MESSAGE_BYTES - len(header)
        for name, spec in specs.items():
            arrays[name] = _array(channel, spec, num_left)
            num_left -= arrays[name].nbytes
    except _INVALID as error:
        raise MessageError(f"no message: {error}") from error
    return Message(kind, body, arrays)


def _array(channel: Connection, spec: Any, max_bytes: int) -> np.ndarray:
    if not isinstance(spec, list):
        raise TypeError("an array without type and shape")
    if len(spec) != 2 or not isinstance(spec[1], list):
        return np.array([text.encode() for text in spec], object)
    dtype, shape = DTYPES[spec[0]], spec[1]
    if len(shape) > MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array of no shape")
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > max_bytes:
        raise MessageTooLongError(f"an array of {num_bytes} bytes, at most {max_bytes}")
    data = _frame(channel, num_bytes)
    if dtype == np.bool_:
        return (np.frombuffer(data, np.uint8) != 0).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _frame(channel: Connection, max_bytes: int) -> bytes:
    try:
        return channel.recv_bytes(max_bytes)
    except OSError as error:
        if channel.closed or channel.readable:  # it ended inside a frame
            raise EOFError from error
        raise MessageTooLongError(f"a frame, at most {max_bytes} bytes are read") from error
