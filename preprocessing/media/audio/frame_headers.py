"""Reads frame lengths from the headers of raw audio streams, to find damage and truncation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# kbit/s by index; rows: MPEG-1 Layer I, II, III, then MPEG-2 and 2.5 Layer I, II and III.
_KBITS = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES_HZ = (44_100, 48_000, 32_000)
_MPEG_1, _MPEG_2, _MPEG_25 = 3, 2, 0
_RATE_DIVISOR = {_MPEG_1: 1, _MPEG_2: 2, _MPEG_25: 4}
# An AC-3 frame has at most 3840 bytes, an MPEG audio frame fewer.
LARGEST_FRAME_BYTES = 4096
# Raw streams have no time stamps: FFmpeg counts packets, and a damaged part counts as one or none.
RAW_STREAM_FORMATS = frozenset(["mp3", "aac", "ac3", "eac3"])
FRAME_HEADER_BYTES = 8
_FEW = 4
# Joined files may contain tags in the middle, which replace no audio.
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


def frame_length_bytes(format_name: str, data: bytes) -> int | None:
    """Length in bytes from the header at the beginning of a frame.

    Args:
      format_name: one of `RAW_STREAM_FORMATS`.
      data: the frame, or its first seven bytes.
    Returns:
      None if there is no such header, or it has no length (AC-3, free format).
    Source: ISO/IEC 11172-3, section 2.4.2.3; 13818-3; 14496-3, section 1.A.2.2 (ADTS).
    """
    if len(data) < 7 or data[0] != 0xFF:
        return None
    if format_name == "aac":
        is_header = data[1] & 0xF6 == 0xF0
        return (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5 if is_header else None
    return _mpeg_bytes(data) if format_name == "mp3" else None


def _mpeg_bytes(data: bytes) -> int | None:
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    rate, kbits, padding = data[2] >> 2 & 3, data[2] >> 4, data[2] >> 1 & 1
    if data[1] & 0xE0 != 0xE0 or version == 1 or layer == 4 or rate == 3 or kbits in (0, 15):
        return None
    row = layer - 1 if version == _MPEG_1 else (3 if layer == 1 else 4)
    bits_a_second = 1000 * _KBITS[row][kbits]
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISOR[version]
    if layer == 1:
        return 4 * (12 * bits_a_second // rate_hz + padding)
    samples = 576 if layer == 3 and version != _MPEG_1 else 1152
    return samples // 8 * bits_a_second // rate_hz + padding


def lost_bytes(format_name: str, sizes: Sequence[int], heads: Sequence[bytes]) -> list[int]:
    """Bytes of each packet that are not part of a frame, for a stream without time stamps.

    Noise may look like a header by chance, so headers of a rare kind are not trusted.

    Args:
      sizes: of the packets, in bytes.
      heads: their first `FRAME_HEADER_BYTES` bytes.
    """
    if format_name not in RAW_STREAM_FORMATS:
        return [0] * len(sizes)
    kinds = [_kind(format_name, head) for head in heads]
    counts = Counter(kinds)
    lost = []
    for size, head, kind in zip(sizes, heads, kinds, strict=True):
        stated = frame_length_bytes(format_name, head)
        most = LARGEST_FRAME_BYTES if stated is None else 2 * stated
        is_rare = counts[kind] <= _FEW < len(sizes) // 2
        is_lost = (size > most or is_rare) and not head.startswith(_TAGS)
        lost.append(size if is_lost else 0)
    return lost


def _kind(format_name: str, head: bytes) -> bytes:
    """Version, layer and rate of a header."""
    if format_name == "mp3":
        return bytes((head[1] & 0xFE, head[2] & 0x0C)) if len(head) > 2 else b""
    return head[1:3] if format_name == "aac" else b""
