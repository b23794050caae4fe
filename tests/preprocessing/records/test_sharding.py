"""How clips are cut into shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectstream.preprocessing.clip import Clip, PicturesElsewhere
from affectstream.preprocessing.records import sharding
from affectstream.preprocessing.records.sharding import in_shards, most_clips, starts_of_shards


def clip(path: Path, start_s: float = 0.0, pictures: PicturesElsewhere | None = None) -> Clip:
    name = path.name
    return Clip(path, name, "test", "sad", "", name, start_s=start_s, pictures=pictures)


def sizes(shards: list[tuple[Clip, ...]]) -> list[int]:
    return [len(shard) for shard in shards]


def test_a_small_corpus_is_cut_into_many_and_a_large_one_into_full_shards() -> None:
    assert [most_clips(n) for n in (1, 16, 17, 160, 10_000)] == [1, 1, 2, 10, 64]
    assert [most_clips(n, are_small=True) for n in (16, 160, 10**6)] == [1, 10, 2048]


def test_shards_hold_so_many_clips_and_so_many_bytes() -> None:
    assert starts_of_shards([], 2, 9) == []
    assert starts_of_shards([1] * 5, 2, 9) == [0, 2, 4]
    assert starts_of_shards([5, 5, 5, 1], 9, 10) == [0, 2]
    assert starts_of_shards([50, 1, 50, 50], 9, 10) == [0, 1, 2, 3]


def test_long_recordings_come_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "MIN_PIECES", 1)
    monkeypatch.setattr(sharding, "BYTES_A_SHARD", 1000.0)
    paths = [tmp_path / f"{number}.mp4" for number in range(5)]
    for path, size in zip(paths, (400, 400, 900, 100, 100), strict=True):
        path.write_bytes(bytes(size))
    shards = in_shards([clip(path) for path in paths])
    assert sizes(shards) == [2, 2, 1]
    assert [one.path for shard in shards for one in shard] == paths


def test_a_file_of_many_clips_is_shared_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "MIN_PIECES", 1)
    monkeypatch.setattr(sharding, "BYTES_A_SHARD", 1000.0)
    long, film = tmp_path / "long.wav", tmp_path / "film.mp4"
    long.write_bytes(bytes(3000))
    film.write_bytes(bytes(1500))
    stretches = [clip(long, float(number)) for number in range(6)]
    assert sizes(in_shards(stretches)) == [2, 2, 2]
    beside = [
        clip(long, float(number), PicturesElsewhere(film, film.name, 0.0, 1.0))
        for number in range(6)
    ]
    assert sizes(in_shards(beside)) == [1] * 6
    assert sizes(in_shards([clip(tmp_path / "absent.wav")])) == [1]
