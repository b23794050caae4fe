"""How large a still picture says that it is, read before it is decoded."""

from __future__ import annotations

import struct

_JPEG, _PNG, _BMP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"
# Markers that begin a frame: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that the header of a JPEG, PNG or BMP states; else None.

    Other formats that are read as stills hold at most 16383 pixels a side.

    Source: ITU-T T.81, annex B.2.2; PNG (third edition), section 11.2.1; BITMAPINFOHEADER.
    """
    try:
        if data.startswith(_PNG):
            width_px, height_px = struct.unpack_from(">II", data, 16)
        elif data.startswith(_BMP):
            width_px, height_px = map(abs, struct.unpack_from("<ii", data, 18))
        elif data.startswith(_JPEG):
            height_px, width_px = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
        else:
            return None
    except struct.error:
        return None
    return width_px, height_px


def _jpeg_frame(data: bytes) -> int:
    """Where the first frame of a JPEG begins; the end of the data where there is none."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        kind = data[at + 1]
        if kind in _JPEG_FRAMES:
            return at
        # Filling, stuffing and markers without a length are passed over as any other byte.
        bare = kind in (0x00, 0x01, 0xFF) or 0xD0 <= kind <= 0xD8
        at += 1 if bare else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return len(data)
