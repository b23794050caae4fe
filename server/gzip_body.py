"""Request bodies with `Content-Encoding: gzip`."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from affectstream.server.errors import ServingError, invalid, too_large
from affectstream.server.limits import MIB

GZIP_WINDOW_BITS = 31
READ_BYTES = 64 * 1024
MAX_STEP_BYTES = MIB


def is_gzip(content_encoding: str) -> bool:
    """Same test as tensorflow/serving, util/net_http/server/internal/evhttp_request.cc."""
    return "gzip" in content_encoding.lower()


def decompress(body: bytes, most: int, reserve: Callable[[int], None]) -> bytes:
    """Decompresses one gzip member; uses at most `most` bytes plus one step of memory.

    Args:
      body: compressed.
      most: limit of the content in bytes.
      reserve: called with the bytes of each chunk; may raise.
    Raises:
      ServingError: 413 for larger content; INVALID_ARGUMENT if it is damaged or followed by other
        bytes, with TensorFlow Serving's text, which treats both as an empty body.
    """
    unpacker = zlib.decompressobj(GZIP_WINDOW_BITS)
    pieces: list[bytes] = []
    num_bytes = 0
    for start in range(0, len(body), READ_BYTES):
        packed = body[start : start + READ_BYTES]
        while packed:
            try:
                piece = unpacker.decompress(packed, MAX_STEP_BYTES)
            except zlib.error as error:
                raise _damaged() from error
            num_bytes += len(piece)
            if num_bytes > most:
                raise too_large(most)
            reserve(len(piece))
            pieces.append(piece)
            if unpacker.unused_data:
                raise _damaged()
            packed = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise _damaged()
    return b"".join(pieces)


def _damaged() -> ServingError:
    return invalid("JSON Parse error: The document is empty, as its gzip cannot be read")
