"""Damage where wav, flac, mp4, mov, mkv and jpeg files state sizes, counts, rates and shapes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.robustness import damage

RATES_HZ = (0, 1, 7, 100, 999, 768_001, 0x7FFF_FFFF, 0xFFFF_FFFF)
COUNTS = (0, 1, 2, 255, 0x7FFF, 0xFFFF)
SIDES_PX = (0, 1, 2, 16_383, 32_768, 65_535)


def _pick(rng: np.random.Generator, values: tuple[int, ...]) -> int:
    return values[int(rng.integers(0, len(values)))]


def _with(data: bytes, at: int, code: str, value: int) -> bytes:
    """The number of `struct` code at an offset replaced, cut to its width."""
    width = struct.calcsize(code)
    if at < 0 or at + width > len(data):
        return data
    made = struct.pack(code, value % (1 << (8 * width)))
    return data[:at] + made + data[at + width :]


# === WAV ===


def wav(rng: np.random.Generator, data: bytes) -> bytes:
    """The `fmt ` chunk lies, samples are no numbers, or any chunk is broken.

    Source: Microsoft and IBM 1991, "Multimedia Programming Interface and Data Specifications";
      format tags of mmreg.h.
    """
    at = data.find(b"fmt ") + 8
    way = int(rng.integers(0, 8))
    if at < 8 or way >= 6:
        return damage.corrupt_chunk(rng, data)
    if way == 0:
        return _with(data, at, "<H", _pick(rng, (0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE)))
    if way == 1:
        return _with(data, at + 2, "<H", _pick(rng, COUNTS))
    if way == 2:
        return _with(data, at + 4, "<I", _pick(rng, RATES_HZ))
    if way == 3:
        return _with(data, at + 12, "<H", _pick(rng, COUNTS))
    if way == 4:
        return _with(data, at + 14, "<H", _pick(rng, (0, 1, 3, 4, 8, 12, 24, 32, 64, 255, 0xFFFF)))
    return _no_numbers(rng, data, at)


def _no_numbers(rng: np.random.Generator, data: bytes, at: int) -> bytes:
    """32-bit float samples, some of them NaN, infinite or huge."""
    body = data.find(b"data") + 8
    if body < 8:
        return data
    count = min((len(data) - body) // 4, 20_000)
    wave = np.sin(np.arange(count) / 7).astype("<f4") / 2
    bad = float(rng.choice([np.nan, np.inf, -np.inf, 1e30, 3e38, 1e-40]))
    wave[rng.random(count) < rng.choice([1e-3, 0.1, 1.0])] = bad
    made = _with(data[:body] + wave.tobytes(), at, "<H", 3)
    for place, code, value in ((2, "<H", 1), (12, "<H", 4), (14, "<H", 32)):
        made = _with(made, at + place, code, value)
    return _with(made, body - 4, "<I", 4 * count)


# === FLAC ===


def flac(rng: np.random.Generator, data: bytes) -> bytes:
    """STREAMINFO lies, a metadata block is broken, or frames are.

    Source: RFC 9639, sections 8 and 9.
    """
    if data[:4] != b"fLaC" or len(data) < 42:
        return damage.corrupt_bytes(rng, data)
    way = int(rng.integers(0, 8))
    if way == 0:  # smallest and largest block
        return _with(data, 8 + 2 * int(rng.integers(0, 2)), ">H", _pick(rng, COUNTS))
    if way in (1, 2, 3):
        return _stream_info(rng, data, way)
    if way == 4:  # kind and size of a metadata block
        header = int(rng.integers(0, 1 << 32))
        return _with(data, 4, ">I", header if rng.random() < 0.5 else 0x7FFF_FFFF)
    if way == 5:  # a block with a large size in its header
        size = _pick(rng, (0, 1, 33, 0xFF_FFFF, 0x7F_FFFF))
        kind = int(rng.integers(0, 8))
        return data[:42] + bytes([kind]) + size.to_bytes(3, "big") + data[42:]
    start = data.find(b"\xff\xf8", 42)
    if start < 0:
        return damage.corrupt_bytes(rng, data)
    if way == 6:  # header of the first frame: block size, rate, channels, bits
        return _with(data, start + 2, ">H", int(rng.integers(0, 1 << 16)))
    return data[:start] + damage.corrupt_bytes(rng, data[start:])


def _stream_info(rng: np.random.Generator, data: bytes, way: int) -> bytes:
    """Rate (20 bits), channels (3), bits (5) or number of samples (36) of STREAMINFO."""
    held = int.from_bytes(data[18:26], "big")
    if way == 1:
        value = _pick(rng, (0, 1, 100, 655_350, 0xF_FFFF))
        held = (held & ~(0xF_FFFF << 44)) | (value << 44)
    elif way == 2:
        held = (held & ~(0xFF << 36)) | (int(rng.integers(0, 256)) << 36)
    else:
        held = (held & ~0xF_FFFF_FFFF) | _pick(rng, (0, 1, 0xF_FFFF_FFFF, 0x7_FFFF_FFFF))
    return data[:18] + held.to_bytes(8, "big") + data[26:]


# === MP4 and MOV ===

# Box -> offsets of 32-bit numbers in its content that say how much or how fast.
_TELLING = {
    "mvhd": (12, 16, 20),  # time scale, duration, rate
    "tkhd": (20, *range(40, 84, 4)),  # duration, matrix, width and height
    "mdhd": (12, 16),
    "elst": (4, 8, 12, 16),  # entries; length, begin and rate of the first
    "stts": (4, 8, 12),
    "ctts": (4, 8, 12),
    "stsz": (4, 8, 12),
    "stsc": (4, 8, 12, 16),
    "stco": (4, 8),
    "stss": (4, 8),
    "avc1": (24, 28, 32),
    "mp4a": (8, 16, 20, 24),
}
_NUMBERS = (0, 1, 2, 1000, 0xFFFF, 0x1_0000, 0x00FF_FFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def mp4(rng: np.random.Generator, data: bytes) -> bytes:
    """A telling number, the codec's own header, two boxes that change places, or any broken part.

    Source: ISO/IEC 14496-12; ISO/IEC 14496-15, section 5.3.3 (avcC).
    """
    way = int(rng.integers(0, 8))
    parts = damage.chunks_of(data)
    telling = [part for part in parts if part.kind in _TELLING]
    if way < 4 and telling:
        part = telling[int(rng.integers(0, len(telling)))]
        at = part.content + _pick(rng, _TELLING[part.kind])
        return _with(data, at, ">I", _pick(rng, _NUMBERS))
    if way == 4:
        return _codec_header(rng, data, (b"avcC", b"esds", b"alac", b"pasp", b"colr"))
    if way == 5 and len(parts) > 1:
        one, two = sorted(rng.choice(len(parts), 2, replace=False))
        return _swapped(data, parts[one], parts[two])
    return damage.corrupt_chunk(rng, data)


def _codec_header(rng: np.random.Generator, data: bytes, names: tuple[bytes, ...]) -> bytes:
    held = [name for name in names if name in data]
    if not held:
        return damage.corrupt_bytes(rng, data)
    at = data.find(held[int(rng.integers(0, len(held)))]) + 4
    made = bytearray(data)
    for place in rng.integers(at, min(at + 48, len(made)), int(rng.integers(1, 6))):
        made[place] = int(rng.integers(0, 256))
    return bytes(made)


def _swapped(data: bytes, one: damage.FileChunk, two: damage.FileChunk) -> bytes:
    if two.start < one.end:  # one holds the other
        return data[: one.start] + data[two.start : two.end] + data[one.end :]
    middle = data[one.end : two.start]
    first, second = data[one.start : one.end], data[two.start : two.end]
    return data[: one.start] + second + middle + first + data[two.end :]


# === Matroska ===

_MASTERS = frozenset(
    [0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B]
)


@dataclass(frozen=True)
class Element:
    """One element: its id, where its size and content stand, and where it ends."""

    kind: int
    start: int
    size_at: int
    content: int
    end: int


def elements(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Element]:
    """Every EBML element, outer ones before those inside; ends at the first that is none.

    Source: RFC 8794, sections 4 to 6; RFC 9559.
    """
    end = len(data) if end is None else end
    while at < end and data[at]:
        id_width = 9 - data[at].bit_length()
        size_at = at + id_width
        if size_at >= end or not data[size_at]:
            return
        width = 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at : size_at + width], "big") & ((1 << (7 * width)) - 1)
        content = size_at + width
        if content > end:
            return
        until = min(end, content + size)
        kind = int.from_bytes(data[at:size_at], "big")
        yield Element(kind, at, size_at, content, until)
        if kind in _MASTERS:
            yield from elements(data, content, until)
        at = until


def mkv(rng: np.random.Generator, data: bytes) -> bytes:
    """The size, the id, the value or the place of one element is wrong."""
    found = list(elements(data))
    if not found:
        return damage.corrupt_bytes(rng, data)
    kind = int(rng.choice(sorted({one.kind for one in found})))
    alike = [one for one in found if one.kind == kind]
    one = alike[int(rng.integers(0, len(alike)))]
    before, own, behind = data[: one.start], data[one.start : one.end], data[one.end :]
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: _value(rng, data, one),
        lambda: _value(rng, data, one),
        lambda: data[: one.size_at] + rng.bytes(1) + data[one.size_at + 1 :],
        lambda: data[: one.size_at] + b"\x01" + rng.bytes(7) + data[one.content :],
        lambda: data[: one.start] + rng.bytes(1) + data[one.start + 1 :],
        lambda: before + behind,
        lambda: before + own + own + behind,
        lambda: data[: int(rng.integers(one.start, one.end + 1))],
    )
    return ways[int(rng.integers(0, len(ways)))]()


def _value(rng: np.random.Generator, data: bytes, one: Element) -> bytes:
    """Content of the same length: zeros, ones, the sign bit, noise, an infinite float."""
    length = min(one.end - one.content, 16)
    kinds = (bytes(length), b"\xff" * length, b"\x80".ljust(length, b"\0"), rng.bytes(length))
    infinite = {4: struct.pack(">f", np.inf), 8: struct.pack(">d", 1e300)}
    made = [*kinds, infinite.get(length, b"\x7f" * length)][int(rng.integers(0, 5))][:length]
    return data[: one.content] + made + data[one.content + length :]


# === JPEG ===


def jpeg(rng: np.random.Generator, data: bytes) -> bytes:
    """A segment is broken, above all the frame header.

    Source: ITU-T T.81, annex B.
    """
    segments = list(_segments(data))
    frames = [at for at in segments if 0xC0 <= data[at + 1] <= 0xCF and data[at + 1] != 0xC4]
    way = int(rng.integers(0, 8))
    if not segments or way == 7:
        return damage.corrupt_bytes(rng, data)
    if frames and way < 5:
        at = frames[0]
        if way < 2:  # height, width
            return _with(data, at + 5 + 2 * way, ">H", _pick(rng, SIDES_PX))
        if way == 2:  # extended, progressive, lossless, arithmetic, ...
            return _with(data, at + 1, "B", 0xC0 + int(rng.integers(0, 16)))
        if way == 3:  # bits, number of components, sampling factors
            return _with(data, at + _pick(rng, (4, 9, 11, 14, 17)), "B", int(rng.integers(0, 256)))
        huge = _with(data, at + 5, ">H", _pick(rng, SIDES_PX))
        return _with(huge, at + 7, ">H", _pick(rng, SIDES_PX))
    at = segments[int(rng.integers(0, len(segments)))]
    if way == 5:
        return _with(data, at + 2, ">H", _pick(rng, COUNTS))
    return _with(data, at + 4 + int(rng.integers(0, 24)), "B", int(rng.integers(0, 256)))


def _segments(data: bytes) -> Iterator[int]:
    """Position of each marker with a length, up to the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        yield at
        if data[at + 1] == 0xDA:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
