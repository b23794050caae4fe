"""How clips are cut into shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectstream.preprocessing.clip import Clip, CompanionVideo
from affectstream.preprocessing.records import sharding
from affectstream.preprocessing.records.sharding import (
    group_into_shards,
    max_clips_per_shard,
    shard_starts,
)


def clip(path: Path, start_s: float = 0.0, pictures: CompanionVideo | None = None) -> Clip:
    name = path.name
    return Clip(
        path,
        name,
        corpus="test",
        label="sad",
        speaker="",
        recording=name,
        start_s=start_s,
        pictures=pictures,
    )


def sizes(shards: list[tuple[Clip, ...]]) -> list[int]:
    return [len(shard) for shard in shards]


def test_a_small_corpus_is_cut_into_many_and_a_large_one_into_full_shards() -> None:
    assert [max_clips_per_shard(n) for n in (1, 16, 17, 160, 10_000)] == [1, 1, 2, 10, 64]
    assert [max_clips_per_shard(n, are_small=True) for n in (16, 160, 10**6)] == [1, 10, 2048]


def test_shards_hold_so_many_clips_and_so_many_bytes() -> None:
    assert shard_starts([], 2, 9) == []
    assert shard_starts([1] * 5, 2, 9) == [0, 2, 4]
    assert shard_starts([5, 5, 5, 1], 9, 10) == [0, 2]
    assert shard_starts([50, 1, 50, 50], 9, 10) == [0, 1, 2, 3]


def test_long_recordings_come_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "MIN_SHARDS", 1)
    monkeypatch.setattr(sharding, "MAX_BYTES_PER_SHARD", 1000.0)
    paths = [tmp_path / f"{number}.mp4" for number in range(5)]
    for path, size in zip(paths, (400, 400, 900, 100, 100), strict=True):
        path.write_bytes(bytes(size))
    shards = group_into_shards([clip(path) for path in paths])
    assert sizes(shards) == [2, 2, 1]
    assert [one.path for shard in shards for one in shard] == paths


def test_a_file_of_many_clips_is_shared_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "MIN_SHARDS", 1)
    monkeypatch.setattr(sharding, "MAX_BYTES_PER_SHARD", 1000.0)
    long, film = tmp_path / "long.wav", tmp_path / "film.mp4"
    long.write_bytes(bytes(3000))
    film.write_bytes(bytes(1500))
    stretches = [clip(long, float(number)) for number in range(6)]
    assert sizes(group_into_shards(stretches)) == [2, 2, 2]
    beside = [
        clip(long, float(number), CompanionVideo(film, film.name, 0.0, 1.0)) for number in range(6)
    ]
    assert sizes(group_into_shards(beside)) == [1] * 6
    assert sizes(group_into_shards([clip(tmp_path / "absent.wav")])) == [1]
