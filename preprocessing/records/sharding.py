"""Groups clips into shards, limited by number of clips and by bytes of their recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from affectstream.core import storage_paths
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.media.video.still_images import is_still_image

MAX_CLIPS_PER_SHARD = 64
MAX_IMAGES_PER_SHARD = 2048
# A small corpus gets smaller shards, so that many processes have work.
MIN_SHARDS = 16
# Shards of long recordings hold few clips, so that a lost process costs minutes, not hours.
MAX_BYTES_PER_SHARD = 256e6


def group_into_shards(clips: Sequence[Clip]) -> list[tuple[Clip, ...]]:
    """The clips of each shard, in order.

    Args:
      clips: all clips of the corpus, so that shards do not change when some are finished.
    """
    small = bool(clips) and (clips[0].text_only or is_still_image(clips[0]))
    starts = shard_starts(
        _bytes_of(clips), max_clips_per_shard(len(clips), small), MAX_BYTES_PER_SHARD
    )
    return [tuple(clips[a:b]) for a, b in zip(starts, [*starts[1:], len(clips)], strict=True)]


def max_clips_per_shard(num_clips: int, are_small: bool = False) -> int:
    """Largest number of clips in a shard of a corpus of `num_clips`."""
    most = MAX_IMAGES_PER_SHARD if are_small else MAX_CLIPS_PER_SHARD
    return max(1, min(most, -(-num_clips // MIN_SHARDS)))


def shard_starts(num_bytes: Iterable[float], max_clips: int, max_bytes: float) -> list[int]:
    """Index of the first clip of each shard.

    Args:
      num_bytes: of each clip's recording; one that is larger than a shard gets its own shard.
      max_clips, max_bytes: limits of a shard.
    """
    starts: list[int] = []
    count, held = 0, 0.0
    for place, size in enumerate(num_bytes):
        if not starts or count == max_clips or held + size > max_bytes:
            starts.append(place)
            count, held = 0, 0.0
        count, held = count + 1, held + size
    return starts


def _bytes_of(clips: Sequence[Clip]) -> list[float]:
    """Bytes of each clip's files, divided by the number of clips in each file."""
    uses = Counter(path for clip in clips for path in _files(clip))
    share = {path: storage_paths.num_bytes(path) / count for path, count in uses.items()}
    return [sum(share[path] for path in _files(clip)) for clip in clips]


def _files(clip: Clip) -> tuple[Path, ...]:
    return (clip.path,) if clip.pictures is None else (clip.path, clip.pictures.path)
