"""Records: what goes into a shard comes out of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.pcm import from_pcm, to_pcm
from affectstream.preprocessing.records.record import (
    SCHEMA,
    Record,
    ShardWriter,
    parse_example,
    read_shard,
    to_example,
)

RNG = np.random.default_rng(0)
KEYS = {
    *("schema", "id", "label", "speaker", "recording", "transcript", "detector"),
    *("audio_hash", "video_hash", "audio", "sample_rate_hz", "video", "video_shape"),
    *("video_mask", "frame_times_s", "boxes_px"),
}


def record(**changes: Any) -> Record:
    told: dict[str, Any] = {
        "id": "x/ä.wav",
        "path": "/x/ä.wav",
        "corpus": "x",
        "label": "happy",
        "speaker": "x/1",
        "recording": "x/ä",
        "start_s": 0.0,
        "end_s": 1.0,
        "waveform": RNG.integers(-32768, 32768, 16_000).astype(np.int16),
        "sample_rate_hz": 16_000,
        "faces": RNG.integers(0, 256, (5, 12, 12, 3)).astype(np.uint8),
        "face_mask": np.array([True, False, True, True, False]),
        "frame_times_s": np.arange(5, dtype=np.float32) / 25,
        "boxes_px": RNG.uniform(0, 500, (5, 4)).astype(np.float32),
        "audio_hash": "a" * 32,
        "video_hash": "b" * 32,
        "detector": "haar",
        "num_frames": 5,
        "transcript": "Grüße",
    }
    return Record(**{**told, **changes})


WHOLE = record()
SOUND_ONLY = record(
    id="x/sound",
    faces=np.zeros((0, 0, 0, 0), np.uint8),
    face_mask=np.zeros(0, bool),
    frame_times_s=np.zeros(0, np.float32),
    boxes_px=np.zeros((0, 4), np.float32),
)
PICTURE_ONLY = record(id="x/picture", waveform=np.zeros(0, np.int16), transcript="")


def written(path: Path, *records: Record) -> Path:
    with ShardWriter(path) as writer:
        for one in records:
            writer.write(one)
    return path


def features_of(one: Record) -> Any:
    example = tf.train.Example.FromString(to_example(one))
    return example.features.feature


# === Round trip ===


@pytest.mark.parametrize("one", [WHOLE, SOUND_ONLY, PICTURE_ONLY], ids=lambda one: one.id)
def test_a_record_is_written_and_read_again(one: Record, tmp_path: Path) -> None:
    (found,) = read_shard(written(tmp_path / "x.tfrecord", one))
    assert found["id"].decode() == one.id
    assert found["text"].decode() == one.transcript
    assert (found["sample_rate_hz"], found["schema"]) == (16_000, SCHEMA)
    for key, value in (
        ("audio", one.waveform),
        ("video", one.faces),
        ("video_mask", one.face_mask),
    ):
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


def test_many_records_in_order(tmp_path: Path) -> None:
    records = [replace(WHOLE, id=f"x/{n}") for n in (3, 1, 2)]
    found = read_shard(written(tmp_path / "x.tfrecord", *records))
    assert [one["id"].decode() for one in found] == ["x/3", "x/1", "x/2"]


def test_all_keys_of_the_schema_are_always_present() -> None:
    for one in (WHOLE, SOUND_ONLY, PICTURE_ONLY):
        feature = features_of(one)
        assert set(feature) == KEYS
        assert list(feature["schema"].int64_list.value) == [SCHEMA] == [1]
    feature = features_of(WHOLE)
    assert feature["label"].bytes_list.value[0] == b"happy"
    assert feature["speaker"].bytes_list.value[0] == b"x/1"
    assert feature["detector"].bytes_list.value[0] == b"haar"
    assert feature["audio_hash"].bytes_list.value[0] == b"a" * 32
    np.testing.assert_allclose(feature["frame_times_s"].float_list.value, WHOLE.frame_times_s)
    np.testing.assert_allclose(feature["boxes_px"].float_list.value, WHOLE.boxes_px.ravel())
    assert list(features_of(SOUND_ONLY)["video_shape"].int64_list.value) == [0, 0, 0, 0]


def test_equal_records_are_equal_bytes() -> None:
    assert to_example(WHOLE) == to_example(replace(WHOLE))
    assert {field.name for field in fields(Record)} >= {"audio_hash", "video_hash", "split"}


def test_parsing_runs_in_a_graph(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tfrecord", WHOLE, SOUND_ONLY)
    dataset = tf.data.TFRecordDataset(str(path)).map(parse_example)
    whole, sound = list(dataset.as_numpy_iterator())
    np.testing.assert_array_equal(whole["video"], WHOLE.faces)
    assert sound["video"].shape == (0, 0, 0, 0)


# === PCM and content ===


def test_pcm_is_exact_both_ways() -> None:
    wave = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 32767 / 32768, 1.0, 7.0], np.float32)
    pcm = to_pcm(wave)
    assert pcm.tolist() == [-32768, -32768, -16384, 0, 16384, 32767, 32767, 32767]
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(to_pcm(from_pcm(every)), every)
    assert from_pcm(every).dtype == np.float32


def test_content_has_one_name() -> None:
    assert content_hash(b"ab", b"c") == content_hash(b"abc") != content_hash(b"abd")
    assert content_hash(b"abc") == "cf4ab791c62b8d2b2109c90275287816"


# === Damage ===


@pytest.mark.parametrize("share", [0.2, 0.7, 0.999])
def test_a_shard_cut_short_is_named(share: float, tmp_path: Path) -> None:
    path = written(tmp_path / "00007.tfrecord", WHOLE, SOUND_ONLY)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"00007\.tfrecord: shard cut short or damaged") as caught:
        list(read_shard(path))
    assert "run `preprocess` again" in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tfrecord", WHOLE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        list(read_shard(path))


def test_a_shard_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write a shard"):
        written(tmp_path / "absent" / "x.tfrecord", WHOLE)
