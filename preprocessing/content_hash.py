"""Content hashes: equal content has the same hash on any machine."""

from __future__ import annotations

import hashlib

# Attribute in which a text corpus stores the content hash of each text; see `ClipRow.text_hash`.
TEXT_HASH = "text_hash"


def content_hash(*parts: bytes) -> str:
    """Hash of some content, 32 hex digits; equal on any machine."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()
