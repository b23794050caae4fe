"""Hostile copies of files: damaged anywhere, or where a format states sizes, counts and rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.robustness import damage, mutations_csv, mutations_media

MEDIA = ("wav", "flac", "mp4", "mov", "mkv", "jpeg")
# Manifests, OpenFace tables, FER2013 tables.
TABLES = ("manifest", "openface", "fer2013")
# Of files that mutations of themselves make larger.
MAX_BYTES = 4 << 20
# A second and a third mutation on top of the first have this chance each.
MORE = 0.3
# Shares of what is damaged as its format asks for, and of files under another format's ending.
AIMED, DISGUISED = 0.7, 0.03

Mutation = Callable[[np.random.Generator, bytes], bytes]

FORMAT_MUTATIONS: Mapping[str, Mutation] = {
    "wav": mutations_media.wav,
    "flac": mutations_media.flac,
    "mp4": mutations_media.mp4,
    "mov": mutations_media.mp4,
    "mkv": mutations_media.mkv,
    "jpeg": mutations_media.jpeg,
    **dict.fromkeys(TABLES, mutations_csv.table),
}


def mutant(rng: np.random.Generator, kind: str, seeds: Mapping[str, Sequence[bytes]]) -> bytes:
    """One hostile file.

    Args:
      kind: one of `MEDIA` or `TABLES`; what the ending of the file will say.
      seeds: whole files by kind.
    """
    source = kind
    if rng.random() < DISGUISED:
        source = str(rng.choice(sorted(seeds)))
    data = _one(rng, seeds[source])
    while True:
        if rng.random() < AIMED:
            data = FORMAT_MUTATIONS[source](rng, data)
        else:
            data = mutate_bytes(rng, data, _one(rng, seeds[source]))
        if rng.random() >= MORE:
            return data[:MAX_BYTES]


def mutate_bytes(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """A copy damaged without regard to its format.

    Args:
      other: another file of the same kind, for splices.
    """
    ways: tuple[Mutation, ...] = (
        damage.corrupt_bytes,
        _bits,
        _zeros,
        _again,
        _moved,
        _extreme,
        _empty,
    )
    place = int(rng.integers(0, len(ways) + 1))
    if place == len(ways):
        return _splice(rng, data, other)
    return ways[place](rng, data)


def _one(rng: np.random.Generator, files: Sequence[bytes]) -> bytes:
    return files[int(rng.integers(0, len(files)))]


def _bits(rng: np.random.Generator, data: bytes) -> bytes:
    made = bytearray(data)
    for place in rng.integers(0, max(len(made), 1), int(rng.integers(1, 9))) if made else ():
        made[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(made)


def _block(rng: np.random.Generator, data: bytes) -> tuple[int, int]:
    start = int(rng.integers(0, len(data) + 1))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 14)))


def _zeros(rng: np.random.Generator, data: bytes) -> bytes:
    start, end = _block(rng, data)
    return data[:start] + bytes([int(rng.choice([0, 0xFF]))]) * (end - start) + data[end:]


def _again(rng: np.random.Generator, data: bytes) -> bytes:
    start, end = _block(rng, data)
    return data[:end] + data[start:end] * int(rng.integers(1, 5)) + data[end:]


def _moved(rng: np.random.Generator, data: bytes) -> bytes:
    start, end = _block(rng, data)
    rest = data[:start] + data[end:]
    place = int(rng.integers(0, len(rest) + 1))
    return rest[:place] + data[start:end] + rest[place:]


def _extreme(rng: np.random.Generator, data: bytes) -> bytes:
    """An extreme number of one to eight bytes, most often near the beginning."""
    width = int(rng.choice([1, 2, 4, 8]))
    if len(data) <= width:
        return data
    reach = min(len(data), 256) if rng.random() < 0.7 else len(data)
    place = int(rng.integers(0, max(1, reach - width)))
    sign = 1 << (8 * width - 1)
    value = (0, 1, sign - 1, sign, 2 * sign - 1)[int(rng.integers(0, 5))]
    made = value.to_bytes(width, "big" if rng.random() < 0.5 else "little")
    return data[:place] + made + data[place + width :]


def _empty(rng: np.random.Generator, data: bytes) -> bytes:
    """Nothing, or nearly nothing."""
    return data[: int(rng.choice([0, 1, 4, 12, 32, 64]))]


def _splice(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Begins as one file and goes on as another."""
    at = int(rng.integers(0, len(data) + 1))
    on = int(at * len(other) / max(len(data), 1)) if rng.random() < 0.5 else 0
    return data[:at] + other[on:]
