"""Counts the fields of a protobuf message before it is parsed.

An empty nested message takes two bytes on the wire and up to a hundred in memory, and nothing else
runs during parsing: 60 MB of `resource_handle_val` took 3 GB and 5 s.

Source: protobuf's encoding of messages (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from affectstream.server.errors import ServingError, invalid

# Enough for the largest requests: a string for each face of 256 rows with 512 frames, or as many
# waveforms with single samples, which some clients still send.
MAX_PARTS = 1_000_000
# Bytes of packed integers per counted field: each may become eight.
PACKED_BYTES = 32
# Depth of nested messages.
MAX_DEPTH = 16
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class WireFormatError(ValueError):
    """The bytes are not a protobuf message."""


def check_num_fields(descriptor: Any, message: bytes) -> int:
    """Counts fields, including those of nested messages; skips other content.

    Args:
      descriptor: descriptor of the message.
    Returns:
      number of fields.
    Raises:
      WireFormatError: the bytes are not a message.
      ServingError: INVALID_ARGUMENT for more than `MAX_PARTS`.
    """
    num_parts, outer = 0, [(descriptor, 0, len(message))]
    while outer:
        kind, at, end = outer.pop()
        inner = _messages_in(kind)
        while at < end:
            num_parts += 1
            if num_parts > MAX_PARTS:
                raise _too_many(descriptor)
            tag, at = _varint(message, at, end)
            at, content_at = _content_bounds(tag & 7, message, at, end)
            if tag & 7 != _LENGTH:
                continue
            if tag >> 3 in _packed_in(kind):
                num_parts += (at - content_at) // PACKED_BYTES
            elif tag >> 3 in inner and content_at < at:
                if len(outer) == MAX_DEPTH:
                    raise WireFormatError
                outer.append((kind, at, end))
                kind, at, end = inner[tag >> 3], content_at, at
                inner = _messages_in(kind)
    if num_parts > MAX_PARTS:
        raise _too_many(descriptor)
    return num_parts


def _too_many(descriptor: Any) -> ServingError:
    return invalid(
        f"{descriptor.name}: more than {MAX_PARTS} parts; send numbers as tensor_content, and fewer"
        " rows at a time"
    )


def _content_bounds(wire_type: int, message: bytes, at: int, end: int) -> tuple[int, int]:
    """Start and end of the content of a field."""
    if wire_type == _VARINT:
        return _varint(message, at, end)[1], at
    if wire_type == _LENGTH:
        size, at = _varint(message, at, end)
    elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
        size = 8 if wire_type == _EIGHT_BYTES else 4
    else:  # groups, which these messages do not use
        raise WireFormatError
    if at + size > end:
        raise WireFormatError
    return at + size, at


@functools.cache
def _messages_in(descriptor: Any) -> dict[int, Any]:
    """Field number -> nested message type, for fields with messages."""
    fields = descriptor.fields
    return {one.number: one.message_type for one in fields if one.message_type is not None}


@functools.cache
def _packed_in(descriptor: Any) -> frozenset[int]:
    """Numbers of the fields that may hold packed varints."""
    short = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
    short |= {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}
    short |= {FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM}
    return frozenset(f.number for f in descriptor.fields if f.cpp_type in short)


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint, and its end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise WireFormatError
