"""What training reads: which records, in which order, transformed how; always the same again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import keyed_rng
from affectstream.modeling.data import record_dataset as pipeline
from affectstream.modeling.data.array_dataset import ArrayDataset
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.stored_records import decoded_bytes, face_bytes
from affectstream.modeling.data.subset import Subset, class_indices, select_records
from affectstream.modeling.recipes.audio import STATISTICS_RESNET1D
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.dataset.splits import make_splits
from affectstream.preprocessing.faces.action_units import ActionUnitSpec
from affectstream.preprocessing.labels import BASIC7, RAVDESS7, LabelSet
from tests.support.models import BOTH, LABELS, SIZE_PX, record, records, write_data

Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return open_data_folder(write_data(tmp_path_factory.mktemp("inputs") / "data", records()))


def part_of(folder: DataFolder, split: str = "all", streams: Sequence[str] = BOTH) -> Subset:
    return select_records([folder], split, BASIC7, streams)


def read(batches: RecordDataset, epoch: int = 0) -> list[Batch]:
    return [
        ({name: value.numpy() for name, value in inputs.items()}, labels.numpy(), index.numpy())
        for inputs, labels, index in batches(epoch)
    ]


def order(batches: RecordDataset, epoch: int = 0) -> list[int]:
    return [int(i) for _, _, index in read(batches, epoch) for i in index]


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for (inputs, labels, index), (their_inputs, their_labels, their_index) in zip(
        one, other, strict=True
    ):
        assert inputs.keys() == their_inputs.keys()
        for name, value in inputs.items():
            np.testing.assert_array_equal(value, their_inputs[name])
        np.testing.assert_array_equal(labels, their_labels)
        np.testing.assert_array_equal(index, their_index)


# === What is read ===


def test_what_a_batch_holds(folder: DataFolder) -> None:
    part = part_of(folder)
    batches = RecordDataset(part, BASIC7, BOTH, 8)
    found = read(batches)
    assert [len(index) for _, _, index in found] == [8, 8, 5]
    assert batches.num_batches == 3
    inputs, labels, index = found[0]
    assert {name: (value.shape, str(value.dtype)) for name, value in inputs.items()} == {
        "audio": ((8, 9600), "float32"),
        "audio_length": ((8,), "int32"),
        "video": ((8, 3, SIZE_PX, SIZE_PX, 1), "uint8"),
        "video_mask": ((8, 3), "bool"),
    }
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels.argmax(axis=1), class_indices(part, BASIC7)[index])
    np.testing.assert_array_equal(labels.sum(axis=1), 1)
    # The very samples and pixels of the record that the index names.
    row = part.all_rows[index[3]]
    speaker, label, take = row.path.removesuffix(".mp4").split("-")
    made = record(speaker, label, int(take))
    np.testing.assert_array_equal(inputs["video"][3], made.faces)
    np.testing.assert_allclose(inputs["audio"][3], made.waveform / 32768, atol=1e-7)
    assert np.abs(inputs["audio"]).max() <= 1


def test_every_record_once_an_epoch(folder: DataFolder) -> None:
    for seed in (None, 0):
        batches = RecordDataset(part_of(folder), BASIC7, BOTH, 4, seed)
        assert sorted(order(batches)) == list(range(21))


def test_clips_of_different_length_are_padded(tmp_path: Path) -> None:
    short = record("01", "happy", num_frames=1, seconds=0.1)
    long = record("02", "happy", num_frames=4, seconds=0.3)
    folder = open_data_folder(write_data(tmp_path / "data", [short, long], num_shards=1))
    ((inputs, _, index),) = read(RecordDataset(part_of(folder), BASIC7, BOTH, 2))
    first = int(np.argmin(inputs["audio_length"]))
    assert part_of(folder).all_rows[index[first]].speaker == "toy/01"
    assert sorted(inputs["audio_length"].tolist()) == [1600, 4800]
    assert (inputs["audio"][first, 1600:] == 0).all()
    assert inputs["video_mask"][first].tolist() == [True, False, False, False]
    assert (inputs["video"][first, 1:] == 0).all()


def test_a_missing_stream_has_no_length_and_no_mask(tmp_path: Path) -> None:
    made = [record("01", label, streams=("audio",)) for label in LABELS[:3]]
    made += [record("02", label, streams=("video",)) for label in LABELS[:3]]
    folder = open_data_folder(write_data(tmp_path / "data", made, num_shards=1))
    # Batches of one kind only, and of both.
    for batch_size in (1, 3, 6):
        there = {}
        for inputs, _, index in read(RecordDataset(part_of(folder), BASIC7, BOTH, batch_size)):
            assert inputs["video"].shape[2:] == (SIZE_PX, SIZE_PX, 1)
            for i, length, mask in zip(
                index, inputs["audio_length"], inputs["video_mask"], strict=True
            ):
                there[int(i)] = (bool(length), bool(mask.any()))
        expected = {"toy/01": (True, False), "toy/02": (False, True)}
        rows = part_of(folder).all_rows
        assert there == {i: expected[row.speaker] for i, row in enumerate(rows)}


def test_longer_sound_is_cut_to_what_the_model_hears(folder: DataFolder) -> None:
    batches = RecordDataset(part_of(folder), BASIC7, ("audio",), 4, max_samples=500)
    inputs, _, _ = read(batches)[0]
    assert inputs["audio"].shape == (4, 500)
    assert inputs["audio_length"].tolist() == [500] * 4


# === Which records ===


def test_split_label_set_and_stream_choose(tmp_path: Path) -> None:
    made = records(labels=("neutral", "calm", "happy", "excited"))
    made += [record("01", "sad", streams=("video",)), record("01", "angry", streams=("audio",))]
    left_out = "toy/01-happy-0"
    folder = open_data_folder(write_data(tmp_path / "data", made, excluded=[left_out]))

    def names(split: str, labels: LabelSet, streams: Sequence[str]) -> set[str]:
        part = select_records([folder], split, labels, streams)
        index = order(RecordDataset(part, labels, streams, 4)) if len(part) else []
        return {part.all_rows[i].id.removeprefix("toy/") for i in index}

    everyone = {f"{s}-{label}-0" for s in ("01", "02", "03") for label in ("calm", "happy")}
    neutral = {f"{s}-neutral-0" for s in ("01", "02", "03")}
    both = {"01-sad-0", "01-angry-0"}
    everyone -= {"01-happy-0"}
    assert names("all", BASIC7, BOTH) == everyone | neutral | both
    assert names("all", RAVDESS7, BOTH) == everyone | both  # neutral is not in it
    assert names("all", RAVDESS7, ("video",)) == everyone | {"01-sad-0"}
    assert names("all", RAVDESS7, ("audio",)) == everyone | {"01-angry-0"}
    assert names("train", RAVDESS7, BOTH) == {"01-calm-0"} | both
    assert names("validation", RAVDESS7, BOTH) == {"02-calm-0", "02-happy-0"}
    assert names("test", BASIC7, BOTH) == {"03-neutral-0", "03-calm-0", "03-happy-0"}
    part = select_records([folder], "test", BASIC7, BOTH)
    labels = [row.label for row in part.all_rows]
    by_label = dict(zip(labels, class_indices(part, BASIC7), strict=True))
    assert by_label["calm"] == by_label["neutral"] == BASIC7.index("neutral")


def test_several_folders_are_one(tmp_path: Path) -> None:
    first = open_data_folder(write_data(tmp_path / "a", records(1)))
    second = open_data_folder(write_data(tmp_path / "b", records(1, corpus="other", num_takes=2)))
    part = select_records([first, second], "all", BASIC7, BOTH)
    assert len(part) == 21
    batches = RecordDataset(part, BASIC7, BOTH, 8, seed=1)
    shuffled = order(batches)
    assert sorted(shuffled) == list(range(21))
    assert any(i >= 7 for i in shuffled[:7])  # folders are mixed
    for inputs, labels, index in read(batches):
        for row, i in enumerate(index):
            one = part.all_rows[i]
            speaker, label, take = one.path.removesuffix(".mp4").split("-")
            made = record(speaker, label, int(take), corpus=one.corpus)
            np.testing.assert_array_equal(inputs["video"][row], made.faces)
            assert labels[row].argmax() == BASIC7.index(label)


def test_faces_of_two_sizes_are_not_mixed(folder: DataFolder, tmp_path: Path) -> None:
    large = dataclasses.replace(
        record("09", "sad"), faces=np.zeros((3, 64, 64, 1), np.uint8), corpus="large"
    )
    sizes = CropFormat(64, "grey")
    other = open_data_folder(write_data(tmp_path / "large", [large], face_format=sizes))
    part = select_records([folder, other], "all", BASIC7, BOTH)
    told = f"{folder.path} holds faces of 32x32x1, {other.path} holds faces of 64x64x1; preprocess"
    with pytest.raises(UserError, match=told):
        RecordDataset(part, BASIC7, ("video",), 4)
    RecordDataset(part, BASIC7, ("audio",), 4)


def test_nothing_to_read(folder: DataFolder) -> None:
    empty = select_records([folder], "all", LabelSet(("love",)), BOTH)
    with pytest.raises(UserError, match="no record to read"):
        RecordDataset(empty, LabelSet(("love",)), BOTH, 4)


# === Order and chance ===


def test_without_a_seed_it_is_the_order_of_the_shards(folder: DataFolder) -> None:
    batches = RecordDataset(part_of(folder), BASIC7, BOTH, 4, transforms="noise,flip")
    assert order(batches) == order(batches, epoch=3)
    plain = RecordDataset(part_of(folder), BASIC7, BOTH, 4)
    assert_equal(read(batches), read(plain))  # transforms only where there is a seed


def test_epochs_differ_and_repeat(folder: DataFolder) -> None:
    def batches(seed: int) -> RecordDataset:
        return RecordDataset(
            part_of(folder), BASIC7, BOTH, 4, seed, "noise,time_shift,flip,cutout,mixup"
        )

    first = batches(7)
    assert order(first, 0) != order(first, 1)
    assert order(first, 0) != order(batches(8), 0)
    # The third epoch is the same whether or not the two before it were read.
    assert_equal(read(first, 2), read(batches(7), 2))
    assert_equal(read(first, 0), read(batches(7), 0))


def test_augmentation_is_of_the_record_not_of_its_place(tmp_path: Path) -> None:
    """The same records in other shards, in another order and other batches."""
    made = records(2)
    folders = [
        open_data_folder(write_data(tmp_path / "a", made, num_shards=1)),
        open_data_folder(write_data(tmp_path / "b", made[::-1], num_shards=3)),
    ]
    changed: list[dict[str, Any]] = []
    for folder, batch_size in zip(folders, (4, 5), strict=True):
        part = part_of(folder)
        batches = RecordDataset(part, BASIC7, BOTH, batch_size, 1, "noise,gain,flip,brightness")
        changed.append(
            {
                part.all_rows[i].id: (inputs["audio"][row], inputs["video"][row])
                for inputs, _, index in read(batches, 1)
                for row, i in enumerate(index)
            }
        )
    assert changed[0].keys() == changed[1].keys()
    for name, signals in changed[0].items():
        for one, other in zip(signals, changed[1][name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_seed_transforms(folder: DataFolder) -> None:
    def by_record(transforms: str, epoch: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        batches = RecordDataset(part_of(folder), BASIC7, BOTH, 4, 1, transforms)
        return {
            int(i): (inputs["audio"][row], inputs["video"][row])
            for inputs, _, index in read(batches, epoch)
            for row, i in enumerate(index)
        }

    plain = by_record("", 0)
    sound = by_record("noise:probability=1", 0)
    picture = by_record("brightness:probability=1", 0)
    for i, (audio, video) in plain.items():
        assert np.abs(sound[i][0] - audio).max() > 0
        np.testing.assert_array_equal(sound[i][1], video)
        assert (picture[i][1] != video).any()
        np.testing.assert_array_equal(picture[i][0], audio)
    again = by_record("noise:probability=1", 1)
    assert all(np.abs(again[i][0] - sound[i][0]).max() > 0 for i in plain)


def test_mixup_blends_inputs_and_labels(folder: DataFolder) -> None:
    batches = RecordDataset(part_of(folder), BASIC7, BOTH, 21, 1, "mixup:alpha=1")
    ((inputs, labels, _),) = read(batches)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert ((labels > 0.01).sum(axis=1) == 2).sum() > 10
    assert inputs["video"].dtype == np.uint8
    assert inputs["audio_length"].tolist() == [9600] * 21
    # A row of two classes shows both bars, as bright as its label says.
    row = int(np.argmin(np.abs(labels.max(axis=1) - 0.5)))
    first, second = np.argsort(labels[row])[-2:]
    heights = inputs["video"][row].mean(axis=(0, 2, 3))
    bars = [heights[4 * i : 4 * i + 4].mean() for i in range(7)]
    assert set(np.argsort(bars)[-2:]) == {first, second}


# === Single faces ===


def test_frames_as_examples(tmp_path: Path) -> None:
    made = records(1)
    mask = np.array([True, False, True])
    made[0] = dataclasses.replace(made[0], face_mask=mask)
    folder = open_data_folder(write_data(tmp_path / "data", made))
    part = part_of(folder, streams=("video",))
    batches = RecordDataset(part, BASIC7, ("video",), 8, 1, frames_as_examples=True)
    found = read(batches)
    assert batches.num_examples == 20
    assert sum(len(index) for _, _, index in found) == 20
    assert len(found) == batches.num_batches == 3
    for inputs, labels, index in found:
        assert inputs["video"].shape[1:] == (1, SIZE_PX, SIZE_PX, 1)
        assert inputs["video_mask"].all()
        np.testing.assert_array_equal(labels.argmax(1), class_indices(part, BASIC7)[index])
    counts = np.bincount(np.concatenate([index for _, _, index in found]))
    assert sorted(counts.tolist()) == [2, 3, 3, 3, 3, 3, 3]
    # Faces of one clip do not come one after the other.
    assert (np.diff(np.concatenate([index for _, _, index in found])) != 0).sum() > 12


def test_frames_of_one_clip_are_transformed_each_on_its_own(tmp_path: Path) -> None:
    same = record("01", "happy", num_frames=6)
    faces = np.repeat(same.faces[:1], 6, axis=0)
    folder = open_data_folder(
        write_data(tmp_path / "data", [dataclasses.replace(same, faces=faces)], num_shards=1)
    )
    part = part_of(folder, streams=("video",))
    batches = RecordDataset(
        part, BASIC7, ("video",), 6, 1, "brightness:probability=1", frames_as_examples=True
    )
    ((inputs, _, _),) = read(batches)
    assert len({picture.tobytes() for picture in inputs["video"]}) > 1


# === Memory ===


@pytest.mark.parametrize("frames", [False, True])
def test_the_order_does_not_tell_what_is_kept_in_memory(
    tmp_path: Path, frames: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders, clips of different length; nothing kept, read by position, is the same."""
    made = [record(f"{n:02d}", "sad", seconds=0.1 + n / 50, num_frames=n) for n in range(1, 9)]
    other = [record(f"{n:02d}", "happy", corpus="other") for n in range(1, 5)]
    folders = [
        open_data_folder(write_data(tmp_path / name, each))
        for name, each in (("a", made), ("b", other))
    ]
    part = select_records(folders, "all", BASIC7, BOTH)
    streams = ("video",) if frames else BOTH

    def batches() -> RecordDataset:
        return RecordDataset(part, BASIC7, streams, 5, 3, "noise,flip", frames_as_examples=frames)

    kept = batches()
    assert kept.memory_bytes > 0
    monkeypatch.setattr(pipeline, "RECORD_CACHE_BYTES", 0)
    lean = batches()
    assert lean.memory_bytes == 0
    for epoch in (0, 1, 0):
        assert_equal(read(lean, epoch), read(kept, epoch))
    if not frames:  # the very order that shuffling the clips themselves gives, as ever
        seed = int(keyed_rng(3, 0, "", "shuffle").integers(2**31))
        stored = order(RecordDataset(part, BASIC7, BOTH, 5))
        places = tf.data.Dataset.range(12).shuffle(12, seed, reshuffle_each_iteration=False)
        assert order(kept) == [stored[int(place)] for place in places]


def test_sizes_are_those_of_the_records(tmp_path: Path) -> None:
    """Frames as the folder cuts them, sound only where it is read, and cut where that can be."""
    sizes = CropFormat(20, "rgb")
    faces = np.zeros((4, 20, 20, 3), np.uint8)
    made = [
        dataclasses.replace(record("01", "sad"), faces=faces, face_mask=np.ones(4, bool)),
        record("02", "happy", streams=("audio",), seconds=1.0),
    ]
    made[0] = dataclasses.replace(made[0], num_frames=4)
    folder = open_data_folder(write_data(tmp_path / "data", made, face_format=sizes))
    part, known = part_of(folder), 2 * 512

    def kept(*streams: str, **settings: Any) -> int:
        return RecordDataset(part, BASIC7, streams, 4, 0, **settings).memory_bytes

    assert kept("video") == (4 + 1) * 20 * 20 * 3 + known  # a blank frame where there is none
    assert kept("audio") == 2 * (9600 + 16_000) + known
    assert kept("audio", max_samples=12_000) == 2 * (9600 + 12_000) + known
    assert kept("audio", max_samples=12_000, transforms="noise") == kept("audio")
    assert kept(*BOTH) == kept("audio") + kept("video") - known
    assert RecordDataset(part, BASIC7, BOTH, 4).memory_bytes == 0  # is read once


def test_action_units_are_counted_as_numbers(tmp_path: Path) -> None:
    folder = open_data_folder(write_data(tmp_path / "data", records(1, streams=("video",))))
    units = ActionUnitSpec("test", ("AU01", "AU02", "AU04")).as_json()
    preparation = {**folder.settings["preparation"], "action_units": units}
    folder = dataclasses.replace(folder, settings={**folder.settings, "preparation": preparation})
    assert decoded_bytes(part_of(folder), ("video",)) == 7 * (3 * 3 * 4 + 512)


def test_one_bound_holds_for_all_that_a_training_reads(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(folder)
    first = RecordDataset(part, BASIC7, ("audio",), 4, 0)
    monkeypatch.setattr(pipeline, "RECORD_CACHE_BYTES", 2 * first.memory_bytes - 1)
    second = RecordDataset(
        part, BASIC7, ("audio",), 4, is_repeated=True, used_memory_bytes=first.memory_bytes
    )
    assert (first.memory_bytes > 0, second.memory_bytes) == (True, 0)
    assert order(second, 0) == order(second, 1) == order(RecordDataset(part, BASIC7, ("audio",), 4))


def test_single_faces_wait_in_bounded_memory(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer of them then; each comes once an epoch all the same."""
    part = part_of(folder, streams=("video",))
    monkeypatch.setattr(pipeline, "SHUFFLE_BUFFER_BYTES", 5 * face_bytes(part))
    given: list[int] = []
    plain = tf.data.Dataset.shuffle

    def noted(data: Any, count: int, *words: Any, **named: Any) -> Any:
        given.append(count)
        return plain(data, count, *words, **named)

    monkeypatch.setattr(tf.data.Dataset, "shuffle", noted)
    found = order(RecordDataset(part, BASIC7, ("video",), 8, 1, frames_as_examples=True))
    assert given == [5]
    assert np.bincount(found).tolist() == [3] * 21


@pytest.mark.parametrize("keep", [0.95, 0.5])
def test_a_shard_cut_short_is_named_where_records_are_read_by_position(
    tmp_path: Path, keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "RECORD_CACHE_BYTES", 0)
    folder = open_data_folder(write_data(tmp_path / "data", records(1)))
    batches = RecordDataset(part_of(folder), BASIC7, BOTH, 4, 1)
    damaged = folder.path / "shards" / "00001.tfrecord"
    whole = damaged.read_bytes()
    cut(damaged, keep)
    with pytest.raises(UserError, match=r"00001\.tfrecord: shard cut short or damaged"):
        read(batches)
    damaged.write_bytes(whole)
    read(batches)
    cut(damaged, keep)  # and in a later epoch
    with pytest.raises(UserError, match=r"00001\.tfrecord: shard cut short or damaged"):
        read(batches, 1)


# === Cache and damage ===


def test_later_epochs_come_from_the_cache(tmp_path: Path) -> None:
    folder = open_data_folder(write_data(tmp_path / "data", records(1)))
    batches = RecordDataset(part_of(folder), BASIC7, BOTH, 4, 1, "noise")
    first = read(batches, 0)
    for shard in (folder.path / "shards").glob("*"):
        shard.unlink()
    assert_equal(read(batches, 0), first)
    assert sorted(order(batches, 1)) == list(range(7))


def cut(path: Path, keep: float) -> None:
    """Cuts a file, as a full disk or a broken copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("keep", [0.95, 0.5, 0.0])
def test_a_shard_cut_short_is_named(tmp_path: Path, keep: float, seed: int | None) -> None:
    folder = open_data_folder(write_data(tmp_path / "data", records(1)))
    damaged = folder.path / "shards" / "00001.tfrecord"
    cut(damaged, keep)
    with pytest.raises(UserError) as raised:
        read(RecordDataset(part_of(folder), BASIC7, BOTH, 4, seed))
    assert str(raised.value).startswith(f"{damaged}: shard cut short or damaged")
    assert "\n" not in str(raised.value)


def test_a_shard_cut_between_two_records_is_noticed(tmp_path: Path) -> None:
    made = records(1)
    folder = open_data_folder(write_data(tmp_path / "data", made, num_shards=1))
    fewer = write_data(tmp_path / "fewer", made[:-1], num_shards=1)
    damaged = folder.path / "shards" / "00000.tfrecord"
    damaged.write_bytes((fewer / "shards" / "00000.tfrecord").read_bytes())
    for frames in (False, True):
        streams = ("video",)
        part = part_of(folder, streams=streams)
        with pytest.raises(UserError, match="shard cut short"):
            read(RecordDataset(part, BASIC7, streams, 4, frames_as_examples=frames))


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    folder = open_data_folder(write_data(tmp_path / "data", records(1), num_shards=1))
    damaged = folder.path / "shards" / "00000.tfrecord"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"00000\.tfrecord: shard cut short or damaged"):
        read(RecordDataset(part_of(folder), BASIC7, BOTH, 4))


def test_an_absent_shard_is_named(tmp_path: Path) -> None:
    folder = open_data_folder(write_data(tmp_path / "data", records(1)))
    (folder.path / "shards" / "00000.tfrecord").unlink()
    with pytest.raises(UserError, match=r"00000\.tfrecord: shard cut short"):
        RecordDataset(part_of(folder), BASIC7, BOTH, 4)


def test_splits_follow_the_rows(folder: DataFolder) -> None:
    """The helper of these tests divides as the program does."""
    assert folder.splits.parts == make_splits(folder.rows, folder.splits.rule).parts


def test_no_iterator_waits_for_the_tuner(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pass over data would otherwise end late at times, by as long as it took."""
    opened: list[Any] = []
    plain = RecordDataset._dataset

    def noted(batches: RecordDataset, epoch: int) -> Any:
        opened.append(plain(batches, epoch))
        return opened[-1]

    monkeypatch.setattr(RecordDataset, "_dataset", noted)
    read(RecordDataset(part_of(folder), BASIC7, BOTH, 8, seed=0), epoch=1)
    arrays: dict[str, Any] = {"truth": np.arange(4), "features": np.zeros((4, 3), np.float32)}
    opened.append(ArrayDataset(arrays, (), STATISTICS_RESNET1D.training, 7)(0))
    assert [data.options().autotune.enabled for data in opened] == [False, False]
