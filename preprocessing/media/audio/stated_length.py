"""Reads the length from audio headers that FFmpeg does not compare with the file size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from affectstream.core import storage_paths

# Writers to a pipe cannot fill in the length; they write this value or a larger one.
_UNKNOWN_FROM_BYTES = 0x7FFF_0000
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_OGG_END_OF_STREAM = 4
_OGG_LARGEST_PAGE_BYTES = 65_307
_MP3_FRAME_BYTES = 4096


@dataclass(frozen=True)
class HeaderLength:
    """Length information in a file's header.

    Attributes:
      share: share of the header's length that is present; 1.0 if complete or not in the header.
      is_exact: whether the duration that FFmpeg reports is exact rather than a guess.
      is_cut_off: whether the end is missing, in a format without a length in its header.
    """

    share: float = 1.0
    is_exact: bool = True
    is_cut_off: bool = False


def read_header_length(path: Path, format_name: str) -> HeaderLength:
    """Reads the header of a format whose length the library does not check.

    Raises:
      OSError: the file cannot be read.
    Source: RIFF (Microsoft and IBM 1991), EBU Tech 3306 (RF64), Sony Wave64; RFC 3533 (Ogg);
      Xing and VBRI headers of MP3.
    """
    looks: dict[str, Any] = {"wav": _wav, "w64": _w64, "ogg": _ogg, "mp3": _mp3}
    if format_name not in looks:
        return HeaderLength()
    with storage_paths.open_binary(path) as file:
        found: HeaderLength = looks[format_name](file)
    return found


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def _share(stated: int, held: int) -> HeaderLength:
    if stated <= 0 or held >= stated:
        return HeaderLength()
    return HeaderLength(share=max(held, 0) / stated)


def _wav(file: BinaryIO) -> HeaderLength:
    size, long_bytes = _size(file), 0
    for kind, stated, at in _riff_chunks(file, size):
        if kind == b"ds64":
            file.seek(at + 8)
            long_bytes = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        elif kind == b"data":
            if stated == 0xFFFF_FFFF and long_bytes:
                return _share(long_bytes, size - at)
            return _share(0 if stated >= _UNKNOWN_FROM_BYTES else stated, size - at)
    return HeaderLength()


def _riff_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, size in the header and first content byte of each chunk."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        kind, stated = struct.unpack("<4sI", file.read(8))
        yield kind, stated, at + 8
        at += 8 + stated + stated % 2


def _w64(file: BinaryIO) -> HeaderLength:
    size, at = _size(file), 40
    while at + 24 <= size:
        file.seek(at)
        kind, stated = struct.unpack("<16sq", file.read(24))
        if kind == _W64_DATA:
            return _share(stated - 24 if stated < 2**62 else 0, size - at - 24)
        if stated < 24:
            break
        at += (stated + 7) // 8 * 8
    return HeaderLength()


def _ogg(file: BinaryIO) -> HeaderLength:
    """Whether the last page is marked as last."""
    size = _size(file)
    file.seek(max(0, size - _OGG_LARGEST_PAGE_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return HeaderLength(is_cut_off=True)
    lacing = tail[at + 27 : at + 27 + tail[at + 26]]
    is_whole = len(tail) >= at + 27 + tail[at + 26] + sum(lacing)
    return HeaderLength(is_cut_off=not (is_whole and tail[at + 5] & _OGG_END_OF_STREAM))


def _mp3(file: BinaryIO) -> HeaderLength:
    """Whether a header has the number of frames; else the library guesses the duration."""
    file.seek(0)
    head = file.read(10)
    at = 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:]))
    file.seek(at)
    frame = file.read(_MP3_FRAME_BYTES)
    for name in (b"Xing", b"Info"):
        found = frame.find(name)
        if found >= 0 and len(frame) > found + 7:
            return HeaderLength(is_exact=bool(frame[found + 7] & 1))
    return HeaderLength(is_exact=b"VBRI" in frame[:64])
