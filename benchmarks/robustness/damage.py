"""Damaged copies of requests and recordings: anywhere, or just where a container says its sizes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MALFORMED_JSON: tuple[bytes, ...] = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"{}",
    b'{"instances": []}',
    b'{"instances": {}}',
    b'{"instances": null}',
    b'{"inputs": []}',
    b'{"inputs": {"audio": "x"}}',
    b'{"inputs": {"audio": [[NaN]]}}',
    b'{"inputs": {"audio": [[1e999]]}}',
    b'{"inputs": {"audio": [[1, 2], [3]]}}',
    b'{"inputs": {"nothing": [1]}}',
    b'{"instances": [1], "inputs": [1]}',
    b'{"signature_name": "nothing", "inputs": {}}',
    b'{"signature_name": 7, "inputs": {}}',
    b'{"signature_name": "serve_bytes", "inputs": {"wav": [{"b64": "%%%"}]}}',
    b"[" * 100_000,
    b'{"inputs": ' * 5_000,
    b"\xff\xfe\x00{",
    b'{"inputs": {"audio": [[' + b"9" * 5_000 + b"]]}}",
)
# Boxes that hold boxes, with the bytes before the first of them: ISO/IEC 14496-12, sections 8 and
# 12; `wave` is QuickTime's.
BARE = ("moov", "trak", "mdia", "minf", "stbl", "dinf", "edts", "udta", "moof", "traf", "mvex")
CONTAINERS = {
    **dict.fromkeys((*BARE, "wave"), 0),
    "meta": 4,
    "dref": 8,
    "stsd": 8,
}
EXTREMES = (0, 1, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)  # the last two are negative when signed
# Of what a box or chunk tells about itself: version, flags, counts, rates, times.
FIELDS_BYTES = 64


# === Anywhere ===


def corrupt_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """A copy that is cut, flipped here and there, repeated, or filled with noise."""
    kind = int(rng.integers(0, 5))
    if not data:
        return bytes(rng.integers(0, 256, 64, dtype=np.uint8))
    if kind == 0:
        return data[: int(rng.integers(0, len(data)))]
    made = bytearray(data)
    if kind in (1, 2):  # most fields that can be wrong are at the beginning
        reach = len(made) if kind == 1 else min(len(made), 128)
        for place in rng.integers(0, reach, int(rng.integers(1, 20))):
            made[place] = int(rng.integers(0, 256))
    elif kind == 3:
        start = int(rng.integers(0, len(made)))
        del made[start : start + int(rng.integers(1, 4096))]
    else:
        start = int(rng.integers(0, len(made)))
        noise = rng.integers(0, 256, int(rng.integers(1, 4096)), dtype=np.uint8)
        made[start : start + len(noise)] = noise.tobytes()
    return bytes(made)


# === Parts of a container ===


@dataclass(frozen=True)
class FileChunk:
    """A box of an MP4 or MOV file, or a chunk of a RIFF file (WAV, AVI).

    Attributes:
      kind: its four letters.
      size_at: offset of its 32-bit size in bytes.
      size: that size, as it stands there.
      kind_at: offset of its four letters.
      content, end: offsets of what it holds.
      order: ">" or "<", how its numbers are written.
    """

    kind: str
    size_at: int
    size: int
    kind_at: int
    content: int
    end: int
    order: str

    @property
    def start(self) -> int:
        return min(self.size_at, self.kind_at)


def chunks_of(data: bytes) -> list[FileChunk]:
    """Every box or chunk, outer ones before those inside; empty for any other file.

    Source: ISO/IEC 14496-12, section 4.2; Microsoft and IBM, "Multimedia Programming Interface and
      Data Specifications" 1991 (RIFF).
    """
    if data[:4] == b"RIFF" and len(data) >= 12:
        size = struct.unpack_from("<I", data, 4)[0]
        whole = FileChunk("RIFF", 4, size, 0, 12, len(data), "<")
        return [whole, *_chunks(data, 12, len(data))]
    if data[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"):
        return list(_boxes(data, 0, len(data)))
    return []


def _chunks(data: bytes, at: int, end: int) -> Iterator[FileChunk]:
    while at + 8 <= end:
        (size,) = struct.unpack_from("<I", data, at + 4)
        until = min(end, at + 8 + size)
        yield FileChunk(data[at : at + 4].decode("latin-1"), at + 4, size, at, at + 8, until, "<")
        at = until + size % 2


def _boxes(data: bytes, at: int, end: int) -> Iterator[FileChunk]:
    while at + 8 <= end:
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8].decode("latin-1")
        content, length = at + 8, size
        if size == 1 and at + 16 <= end:  # the size follows in 64 bits
            content, length = at + 16, struct.unpack_from(">Q", data, at + 8)[0]
        until = min(end, at + length) if size else end
        if until < content:
            return
        yield FileChunk(kind, at, size, at + 4, content, until, ">")
        if kind in CONTAINERS:
            yield from _boxes(data, content + CONTAINERS[kind], until)
        at = until


# === Damage of parts ===


def corrupt_chunk(rng: np.random.Generator, data: bytes) -> bytes:
    """A copy of a recording of which one part lies: its size, kind, fields, length or place.

    Files of other formats are damaged anywhere. Each kind of part is chosen as often as any other.
    """
    parts = chunks_of(data)
    if not parts:
        return corrupt_bytes(rng, data)
    kinds = sorted({part.kind for part in parts})  # numpy's own strings would lose a NUL at the end
    kind = kinds[int(rng.integers(0, len(kinds)))]
    alike = [part for part in parts if part.kind == kind]
    part = alike[int(rng.integers(0, len(alike)))]
    ways = (_size, _field, _field, _kind, _gone, _twice, _cut)
    return ways[int(rng.integers(0, len(ways)))](rng, data, part)


def _size(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    """Zero, tiny, negative, huge, or off by a little."""
    off = (part.size - 1, part.size + 1, part.size - 8, part.size + 8, part.size * 2)
    wrong = [value for value in (*EXTREMES, *off) if value != part.size]
    return _with(data, part.size_at, part.order, wrong[int(rng.integers(0, len(wrong)))])


def _field(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    """Writes an extreme number into a field: a count, a rate, an offset, a time."""
    words = (min(part.end, part.content + FIELDS_BYTES) - part.content) // 4
    if words < 1:
        return _size(rng, data, part)
    value = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
    return _with(data, part.content + 4 * int(rng.integers(0, words)), part.order, value)


def _with(data: bytes, at: int, order: str, value: int) -> bytes:
    made = bytearray(data)
    struct.pack_into(f"{order}I", made, at, value % 2**32)
    return bytes(made)


def _kind(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    """Renames a chunk to another kind, or to an unknown one."""
    names = [data[other.kind_at : other.kind_at + 4] for other in chunks_of(data)]
    name = [*names, b"\x00\x00\x00\x00", b"zzzz"][int(rng.integers(0, len(names) + 2))]
    return data[: part.kind_at] + name + data[part.kind_at + 4 :]


def _gone(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    return data[: part.start] + data[part.end :]


def _twice(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    return data[: part.end] + data[part.start : part.end] + data[part.end :]


def _cut(rng: np.random.Generator, data: bytes, part: FileChunk) -> bytes:
    """Cuts the file inside a chunk."""
    return data[: int(rng.integers(part.start, part.end + 1))]
