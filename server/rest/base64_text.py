"""Base64 in JSON as TensorFlow Serving decodes it.

Source: abseil-cpp, absl/strings/escaping.cc, Base64Unescape, called by tensorflow/serving in
util/json_tensor.cc.
"""

from __future__ import annotations

import binascii

WHITE_SPACE = b" \t\n\v\f\r"
PADDING = b"=."


def decode(text: str) -> bytes:
    """Decodes base64.

    White space may be anywhere (MIME breaks lines), and the final padding may be missing; `.` pads
    like `=`. Bits after the last byte are ignored.

    Raises:
      ValueError: another character, padding that is too short, too long or not at the end, or an
        impossible length.
    """
    compact = text.encode("ascii").translate(None, WHITE_SPACE)
    digits = compact.rstrip(PADDING)
    num_padding = len(compact) - len(digits)
    if b"=" in digits or num_padding not in (0, -len(digits) % 4):
        raise ValueError("padding at the wrong place")
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
