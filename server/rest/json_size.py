"""Estimates the memory of a JSON document before it is parsed.

A list takes three bytes of a body (`[],`) and a hundred in memory, and nothing else in the server
runs while a document is parsed: 60 MB of them took 1.5 GB and 22 s.
"""

from __future__ import annotations

import grpc
import numpy as np

from affectstream.server.errors import ServingError
from affectstream.server.limits import MIB

MAX_JSON_BYTES = 416 * MIB
# In CPython 3.11 on 64 bits, by character: a list with room for four, an object with one name, a
# number and its slot, a name with its value, and half a string. Characters within strings count as
# well; no audio, image or sentence has that many.
BYTES_PER_CHARACTER = {b"[": 104, b"{": 240, b",": 40, b":": 300, b'"': 30}
# A string with a non-ASCII character may take four bytes per character.
MAX_BYTES_PER_CHARACTER = 4
_PIECE_BYTES = MIB


def estimate_memory_bytes(body: bytes) -> int:
    """Upper bound of the memory of a parsed document; also defined for invalid JSON."""
    num_bytes = len(body) * (1 if body.isascii() else MAX_BYTES_PER_CHARACTER)
    signs = np.frombuffer(body, np.uint8)
    for start in range(0, len(signs), _PIECE_BYTES):
        piece = signs[start : start + _PIECE_BYTES]
        for sign, cost in BYTES_PER_CHARACTER.items():
            num_bytes += cost * int(np.count_nonzero(piece == sign[0]))
    return num_bytes


def check_json_size(body: bytes) -> None:
    """Raises ServingError (413) for a document that would take more than `MAX_JSON_BYTES`."""
    num_bytes = estimate_memory_bytes(body)
    if num_bytes > MAX_JSON_BYTES:
        raise ServingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"this JSON would take {num_bytes / MIB:.0f} MiB once it is read, at most"
            f" {MAX_JSON_BYTES / MIB:.0f}; send fewer rows or frames at a time, WAV and JPEG to"
            " the signature serve_bytes, or tensors over gRPC",
            413,
        )
