"""Base64 as TensorFlow Serving reads it in JSON.

Source: abseil-cpp, absl/strings/escaping.cc, Base64Unescape, which tensorflow/serving calls in
util/json_tensor.cc.
"""

from __future__ import annotations

import binascii

WHITE_SPACE = b" \t\n\v\f\r"
PADDING = b"=."


def decode(text: str) -> bytes:
    """The bytes that base64 stands for.

    White space may be anywhere (MIME breaks lines), and the padding at the end may be left out;
    `.` pads like `=`. Bits behind the last byte are passed over.

    Raises:
      ValueError: another character, padding too short, too long or not at the end, or a length
        that no bytes have.
    """
    given = text.encode("ascii").translate(None, WHITE_SPACE)
    digits = given.rstrip(PADDING)
    num_padding = len(given) - len(digits)
    if b"=" in digits or num_padding not in (0, -len(digits) % 4):
        raise ValueError("padding at the wrong place")
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
