"""The name of some content: equal content has the same name on any machine."""

from __future__ import annotations

import hashlib

# Attribute in which a corpus of texts names the content of each; see `ClipRow.text_hash`.
TEXT_HASH = "text_hash"


def content_hash(*parts: bytes) -> str:
    """Name of some content, 32 hex digits; the same content has the same name on any machine."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()
