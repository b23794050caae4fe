"""Reads width and height from an image header, before the image is decoded."""

from __future__ import annotations

import re
import struct

_JPEG, _PNG, _BMP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"
_GIF, _TIFF = (b"GIF87a", b"GIF89a"), (b"II*\0", b"MM\0*")
_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P[1-6]" + _SPACE + rb"(\d+)" + _SPACE + rb"(\d+)")
_WIDTH_TAG, _HEIGHT_TAG, _SHORT = 256, 257, 3
_LONGEST_HEADER = 1 << 16
# Markers that begin a frame: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels from the header of a still image; None if unknown.

    WebP is not parsed: its format allows at most 16383 pixels per side.

    Source: ITU-T T.81, annex B.2.2; PNG (third edition), section 11.2.1; BITMAPINFOHEADER; GIF89a,
    section 18; TIFF 6.0, section 2; the man pages of pbm, pgm and ppm; ISO/IEC 23008-12, 6.5.3
    (`ispe` of AVIF).
    """
    try:
        if data.startswith(_PNG):
            width_px, height_px = struct.unpack_from(">II", data, 16)
        elif data.startswith(_BMP):
            width_px, height_px = map(abs, struct.unpack_from("<ii", data, 18))
        elif data.startswith(_JPEG):
            height_px, width_px = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
        elif data.startswith(_GIF):
            width_px, height_px = struct.unpack_from("<HH", data, 6)
        elif data.startswith(_TIFF):
            width_px, height_px = _tiff_size(data)
        elif (match := _PNM.match(data)) is not None:
            width_px, height_px = (min(int(side[:9]), 10**9) for side in match.groups())
        elif (at := data.find(b"ispe", 0, _LONGEST_HEADER)) >= 0 and data[4:8] == b"ftyp":
            width_px, height_px = struct.unpack_from(">II", data, at + 8)
        else:
            return None
    except struct.error:
        return None
    return width_px, height_px


def _jpeg_frame(data: bytes) -> int:
    """Start of the first frame of a JPEG; the end of the data if there is none."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        kind = data[at + 1]
        if kind in _JPEG_FRAMES:
            return at
        # Padding, stuffing and markers without a length are skipped like any other byte.
        bare = kind in (0x00, 0x01, 0xFF) or 0xD0 <= kind <= 0xD8
        at += 1 if bare else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return len(data)


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first directory of a TIFF; 0 for a missing value."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    sides = {_WIDTH_TAG: 0, _HEIGHT_TAG: 0}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if tag in sides:
            (sides[tag],) = struct.unpack_from(
                f"{order}{'H' if kind == _SHORT else 'I'}", data, place + 8
            )
    return sides[_WIDTH_TAG], sides[_HEIGHT_TAG]
