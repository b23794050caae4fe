"""`augment`: what is copied, where copies may stand, and what an interruption leaves."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from affectstream.cli import main
from affectstream.core import atomic_io, registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.offline.augment import AugmentSettings, augment
from affectstream.data_augmentation.offline.augmenter import Augmenter
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.dataset.splits import make_splits
from affectstream.preprocessing.labels import BASIC7
from affectstream.preprocessing.records.record import Record, ShardWriter, read_records

pytestmark = pytest.mark.slow

RATE_HZ = 16000
NUM_SAMPLES = 3200
NUM_FRAMES = 3
SIDE_PX = 16
SPEAKERS = ("x/1", "x/2", "x/3", "x/4")
RULE = {"kind": "speakers", "test": ["x/4"], "validation": ["x/3"]}
# Speakers 1 and 2 train; of theirs, one clip is left out.
NUM_TRAIN = 2 * len(BASIC7.labels) - 1
QUICK = AugmentSettings("noise,flip,brightness", copies=2, seed=5)


def record(speaker: str, label: str) -> Record:
    """A clip with sound and three frames, in the second of which no face was found."""
    rng = np.random.default_rng([SPEAKERS.index(speaker), BASIC7.labels.index(label)])
    faces = rng.integers(1, 255, (NUM_FRAMES, SIDE_PX, SIDE_PX, 1), np.uint8)
    faces[1] = 0
    waveform = rng.integers(-3000, 3000, NUM_SAMPLES).astype(np.int16)
    name = f"{label}-{speaker[2:]}.mp4"
    return Record(
        id=f"x/{name}",
        path=name,
        corpus="x",
        label=label,
        speaker=speaker,
        recording=f"x/{label}-{speaker[2:]}",
        start_s=0.0,
        end_s=0.2,
        waveform=waveform,
        sample_rate_hz=RATE_HZ,
        faces=faces,
        face_mask=np.array([True, False, True]),
        frame_times_s=np.array([0.0, 0.1, 0.2], np.float32),
        boxes_px=np.arange(12, dtype=np.float32).reshape(3, 4),
        audio_hash=content_hash(waveform.tobytes()),
        video_hash=content_hash(faces.tobytes()),
        detector="none",
        num_frames=NUM_FRAMES,
        attributes={"intensity": "normal"},
    )


def write_folder(path: Path, are_known: bool = True) -> DataFolder:
    """A prepared corpus of 4 speakers, known or not, x 7 labels; a shard for each two speakers."""
    rows = []
    (path / data_folder.SHARDS_FOLDER).mkdir(parents=True)
    for number, pair in enumerate((SPEAKERS[:2], SPEAKERS[2:])):
        shard = f"{number:05d}.tfrecord"
        with ShardWriter(path / data_folder.SHARDS_FOLDER / shard) as writer:
            for speaker in pair:
                for label in BASIC7.labels:
                    told = record(speaker, label)
                    told = told if are_known else replace(told, speaker="")
                    writer.write(told)
                    rows.append(told.row(shard))
    rows.sort(key=lambda one: one.id)
    rows[0] = replace(rows[0], excluded="equal content, conflicting labels")
    data_folder.write_rows(path, rows)
    data_folder.write_splits(path, make_splits(rows, RULE if are_known else {"kind": "default"}))
    preparation = {
        "detector": "none",
        "face": {"size_px": SIDE_PX, "color": "grey"},
        "sample_rate_hz": RATE_HZ,
    }
    settings: dict[str, Any] = {
        "corpus": "x",
        "synthetic": True,
        "licence": "CC0 1.0",
        "citation": "none",
    }
    settings |= {"sample_rate_hz": RATE_HZ, "preparation": preparation}
    atomic_io.write_checksummed_json(path / data_folder.SETTINGS_FILE, settings)
    return open_data_folder(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return write_folder(tmp_path_factory.mktemp("source") / "records")


@pytest.fixture(scope="module")
def augmented(source: DataFolder, tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """An augmented folder that no test changes."""
    out = tmp_path_factory.mktemp("augmented") / "records"
    augment(source, out, QUICK, num_examples=2)
    return open_data_folder(out)


def records_of(folder: DataFolder) -> dict[str, Record]:
    rows = {row.id: row for row in folder.rows}
    return {r.id: r for path in folder.shard_paths(folder.rows) for r in read_records(path, rows)}


def shards_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "shards").glob("*.tfrecord")}


def same(a: Record, b: Record) -> bool:
    pairs = [(value, getattr(b, name)) for name, value in vars(a).items()]
    return all(np.array_equal(one, other) for one, other in pairs)


# === What is in it ===


def test_records_come_back_whole(source: DataFolder) -> None:
    found = records_of(source)
    assert len(found) == 28
    for told in found.values():
        assert same(told, record(told.speaker, told.label))
    one = source.rows[3]
    path = source.path / "shards" / one.shard
    assert [told.id for told in read_records(path, {one.id: one})] == [one.id]


def test_every_clip_stays_and_training_clips_have_copies(
    source: DataFolder, augmented: DataFolder
) -> None:
    originals = [one for one in augmented.rows if not one.copy_of]
    assert tuple(originals) == source.rows
    copies = [one for one in augmented.rows if one.copy_of]
    assert len(copies) == 2 * NUM_TRAIN
    train = set(source.splits.parts["train"])
    assert {one.copy_of for one in copies} == train
    assert len(train) == NUM_TRAIN
    for split in ("validation", "test"):
        assert augmented.splits.parts[split] == source.splits.parts[split]
    assert set(augmented.splits.parts["train"]) == train | {one.id for one in copies}
    assert augmented.splits.rule == RULE
    assert augmented.splits.notes == ()
    assert augmented.synthetic


def test_a_copy_is_tied_to_its_clip_and_differs_from_it(augmented: DataFolder) -> None:
    by_id = {one.id: one for one in augmented.rows}
    found = records_of(augmented)
    assert set(found) == set(by_id)
    for copy in (one for one in augmented.rows if one.copy_of):
        clip, told, before = by_id[copy.copy_of], found[copy.id], found[copy.copy_of]
        for name in ("label", "speaker", "recording", "corpus", "path", "split"):
            assert getattr(copy, name) == getattr(clip, name)
        assert copy.attributes == {"intensity": "normal", "copy_of": clip.id}
        heard = not np.array_equal(told.waveform, before.waveform)
        seen = not np.array_equal(told.faces, before.faces)
        assert heard or seen
        assert (copy.audio_hash != clip.audio_hash) == heard
        assert (copy.video_hash != clip.video_hash) == seen
        assert (told.audio_hash, told.video_hash) == (copy.audio_hash, copy.video_hash)
        assert copy.num_samples == len(told.waveform)
        assert np.array_equal(told.face_mask, before.face_mask)
        assert not told.faces[1].any(), "a face that was not found stays blank"


def test_originals_are_the_same_bytes(source: DataFolder, augmented: DataFolder) -> None:
    assert shards_of(source.path).items() <= shards_of(augmented.path).items()


def test_settings_say_what_was_done(source: DataFolder, augmented: DataFolder) -> None:
    assert augmented.settings == {
        **source.settings,
        "augmented_from": str(source.path),
        "transforms": "noise,flip,brightness",
        "copies": 2,
        "seed": 5,
    }


def test_chance_depends_on_the_seed_only(
    source: DataFolder, augmented: DataFolder, tmp_path: Path
) -> None:
    augment(source, tmp_path / "again", QUICK, 0)
    assert shards_of(tmp_path / "again") == shards_of(augmented.path)
    augment(source, tmp_path / "more", replace(QUICK, copies=3), 0)
    more = records_of(open_data_folder(tmp_path / "more"))
    assert all(same(told, more[name]) for name, told in records_of(augmented).items())
    augment(source, tmp_path / "other", replace(QUICK, seed=6), 0)
    assert shards_of(tmp_path / "other") != shards_of(augmented.path)


def test_a_fixed_transform_gives_the_expected_copy(source: DataFolder) -> None:
    augmenter = Augmenter.parse("flip:probability=1", seed=0)
    clip = record("x/1", "happy")
    copy = augmenter.copy(clip, 1)
    assert copy is not None
    assert np.array_equal(copy.record.faces, clip.faces[:, :, ::-1])
    assert np.array_equal(copy.record.waveform, clip.waveform)
    assert copy.record.audio_hash == clip.audio_hash
    assert copy.record.video_hash == content_hash(copy.record.faces.tobytes())
    assert copy.applied == {"audio": [], "video": [("flip", {})]}


def test_a_copy_always_differs(source: DataFolder) -> None:
    augmenter = Augmenter.parse("flip:probability=0.1", seed=0)
    clip = record("x/1", "happy")
    copies = [augmenter.copy(clip, number) for number in range(1, 21)]
    assert all(copy is not None for copy in copies)
    symmetric = replace(clip, faces=np.full_like(clip.faces, 7))
    assert augmenter.copy(symmetric, 1) is None, "nothing can change it"


def test_speed_changes_the_length_that_is_told(source: DataFolder, tmp_path: Path) -> None:
    text = "speed:probability=1:min_speed=1.25:max_speed=1.25"
    augment(source, tmp_path / "out", AugmentSettings(text, copies=1), 0)
    copies = [one for one in open_data_folder(tmp_path / "out").rows if one.copy_of]
    assert {one.num_samples for one in copies} == {2560}


# === Where copies may stand ===


def test_all_means_all_clips_without_copies(source: DataFolder, augmented: DataFolder) -> None:
    assert augmented.subset("all") == source.subset("all")


def test_splitting_anew_never_holds_out_a_copy(augmented: DataFolder) -> None:
    other = {"kind": "speakers", "test": ["x/1"], "validation": ["x/4"]}
    splits = make_splits(augmented.rows, other)
    by_id = {one.id: one for one in augmented.rows}
    for split in ("validation", "test"):
        assert splits.parts[split]
        assert not any(by_id[name].copy_of for name in splits.parts[split])
    train = [by_id[name] for name in splits.parts["train"]]
    assert {one.speaker for one in train} == {"x/2", "x/3"}
    assert sum(bool(one.copy_of) for one in train) == 14
    assert splits.notes == (
        "copies of held-out clips left out: 12",
        "training clips without copies: 7",
    )
    assert make_splits(augmented.rows, RULE) == augmented.splits


@pytest.mark.parametrize(
    "rule", [{"kind": "default"}, {"kind": "folds", "num_folds": 4, "fold": 2}]
)
def test_every_rule_keeps_copies_in_training(augmented: DataFolder, rule: dict[str, Any]) -> None:
    splits = make_splits(augmented.rows, rule)
    by_id = {one.id: one for one in augmented.rows}
    for parts in (splits.parts, *splits.folds):
        held = [by_id[name] for name in (*parts["validation"], *parts["test"])]
        train = [by_id[name] for name in parts["train"]]
        assert held and not any(one.copy_of for one in held)
        assert not {one.speaker for one in held} & {one.speaker for one in train}
        assert {one.copy_of for one in train if one.copy_of} <= {one.id for one in train}
        assert overlaps(DataFootprint.of(train), held) == []


def test_split_by_recording_keeps_copies_with_their_clip(tmp_path: Path) -> None:
    """Without speakers the recording ties a copy to its clip."""
    folder = write_folder(tmp_path / "records", are_known=False)
    before = folder.splits.parts
    augment(folder, tmp_path / "out", QUICK, 0)
    found = open_data_folder(tmp_path / "out")
    assert make_splits(found.rows, {"kind": "default"}) == found.splits
    for split in ("validation", "test"):
        assert before[split]
        assert found.splits.parts[split] == before[split]
    copies = [name for name in found.splits.parts["train"] if "+copy" in name]
    assert len(copies) == 2 * len(before["train"])


def test_the_split_command_takes_an_augmented_folder(
    source: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    augment(source, tmp_path / "out", QUICK, 0)
    assert main(["split", "--data", str(tmp_path / "out"), "--test-speakers", "2"]) == 0
    said = capsys.readouterr().out
    assert "test: 7 records, speakers x/2" in said
    assert "note: copies of held-out clips left out: 14" in said


def test_training_reads_it(source: DataFolder, augmented: DataFolder) -> None:
    from affectstream.modeling.data.record_dataset import RecordDataset
    from affectstream.modeling.data.training_data import training_data

    streams = ("audio", "video")
    data = training_data([augmented], "basic7", streams, allow_leak=False)
    assert len(data.subsets["train"]) == 3 * NUM_TRAIN
    assert len(data.subsets["test"]) == 7
    assert not data.leak_allowed
    assert data.synthetic
    batches = RecordDataset(data.subsets["train"], BASIC7, streams, 8, seed=0)
    read = [index for _, _, indices in batches() for index in indices.numpy()]
    assert sorted(read) == list(range(3 * NUM_TRAIN))
    both = training_data([source, augmented], "basic7", streams, allow_leak=False)
    assert len(both.subsets["train"]) == 4 * NUM_TRAIN


# === Run again ===


def test_a_second_run_does_nothing(source: DataFolder, tmp_path: Path) -> None:
    first = augment(source, tmp_path / "out", QUICK, 1)
    assert first.num_new_copies == first.num_copies == 2 * NUM_TRAIN
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("[se]*/*")}
    assert len(before) == 3 + 2 + 5
    again = augment(source, tmp_path / "out", QUICK, 1)
    assert (again.num_new_copies, again.num_copies) == (0, 2 * NUM_TRAIN)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("[se]*/*")}


def test_an_interrupted_run_goes_on(
    source: DataFolder, augmented: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real_copy = Augmenter.copy
    done: list[str] = []

    def interrupted(self: Augmenter, told: Record, number: int) -> Any:
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(told.id)
        return real_copy(self, told, number)

    with monkeypatch.context() as patch:
        patch.setattr(Augmenter, "copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            augment(source, out, QUICK, 0)
    assert not data_folder.is_data_folder(out), "half of it is not taken for the whole"
    assert not [p for p in out.rglob("*") if atomic_io.TEMPORARY_MARK in p.name]
    augment(source, out, QUICK, 0)
    assert shards_of(out) == shards_of(augmented.path)
    assert open_data_folder(out).rows == augmented.rows


def test_a_shard_cut_short_is_made_again(source: DataFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(source, out, QUICK, 0)
    before = shards_of(out)
    shard = out / "shards" / "00000-copies.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-5])
    (out / "shards" / "00007.tfrecord").write_bytes(b"of an earlier state of the source")
    result = augment(source, out, QUICK, 0)
    assert result.num_new_copies == 2 * NUM_TRAIN
    assert shards_of(out) == before


def test_what_is_being_made_again_is_not_taken_for_whole(
    source: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    augment(source, out, QUICK, 0)
    (out / "shards" / "00000-copies.tfrecord").unlink()

    def interrupted(self: Augmenter, told: Record, number: int) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Augmenter, "copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        augment(source, out, QUICK, 0)
    assert not data_folder.is_data_folder(out)


def test_another_split_of_the_source_is_noticed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "records")
    augment(folder, tmp_path / "out", QUICK, 0)
    rule = {"kind": "speakers", "test": ["x/1"], "validation": ["x/3"]}
    data_folder.write_splits(folder.path, make_splits(folder.rows, rule))
    augment(open_data_folder(folder.path), tmp_path / "out", QUICK, 0)
    found = open_data_folder(tmp_path / "out")
    assert {one.speaker for one in found.rows if one.copy_of} == {"x/2", "x/4"}
    assert found.splits.rule == rule
    assert found.splits.notes == ()


# === Examples ===


def test_examples_can_be_opened(source: DataFolder, augmented: DataFolder) -> None:
    folder = augmented.path / "examples"
    names = sorted(path.name for path in folder.iterdir())
    train = augmented.subset("train")
    first = next(one for one in train if not one.copy_of)
    stem = f"01-{first.label}-{first.label}-{first.speaker[2:]}"
    assert [name for name in names if name.startswith("01")] == [
        f"{stem}-before.wav",
        f"{stem}-copy1.wav",
        f"{stem}-copy2.wav",
        f"{stem}-faces.png",
    ]
    assert len(names) == 2 * 4 + 1
    found = records_of(augmented)
    for name, record_id in (("before", first.id), ("copy1", f"{first.id}+copy1")):
        with wave.open(str(folder / f"{stem}-{name}.wav")) as file:
            assert (file.getframerate(), file.getnchannels()) == (RATE_HZ, 1)
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.array_equal(pcm, found[record_id].waveform)
    sheet = cv2.imread(str(folder / f"{stem}-faces.png"))
    assert sheet is not None
    assert sheet.shape == (3 * (96 + 18), 2 * 96, 3), "two found faces, before and two copies"
    before = cv2.resize(sheet[18 : 18 + 96], (32, 16), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(before[:, :16, :1], found[first.id].faces[0])
    applied = json.loads((folder / "applied.json").read_text())
    assert applied[stem]["clip"] == first.id
    assert applied[stem]["synthetic"] is True
    assert set(applied[stem]["copies"]) == {"copy1", "copy2"}


def test_no_examples_where_none_are_wanted(source: DataFolder, tmp_path: Path) -> None:
    augment(source, tmp_path / "out", QUICK, 1)
    assert (tmp_path / "out" / "examples").is_dir()
    augment(source, tmp_path / "out", QUICK, 0)
    assert not (tmp_path / "out" / "examples").exists()


# === What is refused ===


def test_an_occupied_folder_is_left_alone(
    source: DataFolder, augmented: DataFolder, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"written otherwise \(copies: 2 there, 3 now; seed"):
        augment(source, augmented.path, replace(QUICK, copies=3, seed=1))
    with pytest.raises(UserError, match="must differ from --data"):
        augment(source, source.path, QUICK)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other files"):
        augment(source, tmp_path, QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        augment(source, tmp_path / "letter.txt", QUICK)


def test_copies_are_not_copied(augmented: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds copies already; augment .*source"):
        augment(augmented, tmp_path / "out", QUICK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noise,mixup,spec_augment", "mixup, spec_augment: works inside training"),
        ("", "no transform that ever applies; known: noise"),
        ("flip:probability=0", "no transform that ever applies"),
        ("blur", "no transforms named 'blur'"),
    ],
)
def test_transforms_that_cannot_be_written(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmenter.parse(text, 0)


def test_nothing_to_copy(source: DataFolder, tmp_path: Path) -> None:
    no_train = replace(source.splits, parts={**source.splits.parts, "train": ()}, notes=("why",))
    with pytest.raises(UserError, match=r"no training clip to copy \(why\)"):
        augment(replace(source, splits=no_train), tmp_path / "out", QUICK)
    mute = replace(source, rows=tuple(replace(one, num_samples=0) for one in source.rows))
    with pytest.raises(UserError, match="change audio, which no training clip has"):
        augment(mute, tmp_path / "out", AugmentSettings("noise"))
    assert not (tmp_path / "out").exists()


def test_a_damaged_source_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "records")
    shard = folder.path / "shards" / "00000.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"00000\.tfrecord: shard cut short or damaged"):
        augment(folder, tmp_path / "out", QUICK)
    assert not (tmp_path / "out" / "clips.csv").exists()
    shard.unlink()
    with pytest.raises(UserError, match=r"00000\.tfrecord: shard cut short or damaged"):
        augment(folder, tmp_path / "out", QUICK)


def test_a_full_disk_is_one_line(
    source: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("affectstream.data_augmentation.offline.augment.shutil.copyfileobj", full)
    with pytest.raises(UserError, match="disk full; free some space"):
        augment(source, tmp_path / "out", QUICK)


# === The command ===


def test_augment_writes_copies_of_training_clips(
    source: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["augment", "--data", str(source.path), "--out", str(tmp_path / "out"), "--copies", "1"]
    assert main([*words, "--transforms", "gain:probability=1", "--examples", "1"]) == 0
    said = capsys.readouterr()
    first = f"28 clips and {NUM_TRAIN} copies of {NUM_TRAIN} training clips of SYNTHETIC data"
    assert first in said.out
    assert f"train: {2 * NUM_TRAIN}\n  validation: 7\n  test: 7" in said.out
    assert main([*words, "--transforms", "flip"]) == 1
    assert capsys.readouterr().err.startswith("Error: ")
    assert main(["augment", "--data", str(tmp_path), "--out", str(tmp_path / "b")]) == 1
    assert "not a prepared corpus" in capsys.readouterr().err
    assert main(["augment", "--data", str(source.path)]) == 2


def test_the_default_transforms_are_all_that_can_be_written(source: DataFolder) -> None:
    rows = registry.TABLE["transforms"].items()
    names = [name for name, entry in rows if entry.stream in ("audio", "video")]
    assert AugmentSettings().transforms.split(",") == names
    assert Augmenter.parse(AugmentSettings().transforms, 0).streams == ("audio", "video")
