"""`preprocess` from the command line: what it writes, and that it does only what is missing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from affectstream import cli
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL, EXIT_USAGE
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.pcm import from_pcm
from affectstream.preprocessing.records import sharding
from affectstream.preprocessing.records.record import read_shard
from tests.support.factories import (
    files_below,
    number_of,
    numbered_image,
    preprocess,
    sample_source,
    tone,
    write_media,
    write_sound,
)

pytestmark = pytest.mark.slow

NONE = ("--detector", "none")
X264 = {"preset": "ultrafast"}


def records_of(data: Path) -> dict[str, dict]:
    """Every record of a data folder by its id, read from the shards."""
    return {
        record["id"].decode(): record
        for shard in sorted((data / "shards").glob("*.tfrecord"))
        for record in read_shard(shard)
    }


def own(folder: Path, *names: str, label: str = "sad") -> Path:
    """A manifest over files of a folder, each of a speaker of its own."""
    lines = [f"{name},{label},{place}" for place, name in enumerate(names)]
    (folder / "manifest.csv").write_text("\n".join(["path,label,speaker", *lines]))
    return folder


def named(data: Path) -> str:
    """The name of a prepared manifest, which stands before each id."""
    return open_data_folder(data).settings["corpus"]


# === The sample corpus ===


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    out = tmp_path_factory.mktemp("prepared") / "records"
    words = ("--detector", "haar", "--num-frames", "4", "--face-size", "48")
    assert preprocess("sample", sample_source(), out, *words) == EXIT_OK
    return open_data_folder(out)


def test_what_is_written(prepared: DataFolder) -> None:
    assert set(files_below(prepared.path)) == {
        *("clips.csv", "splits.json", "rejected.csv", "preprocess.json"),
        *(f"shards/{n:05d}.{ending}" for n in range(11) for ending in ("tfrecord", "json")),
    }
    assert (prepared.path / "rejected.csv").read_text() == "path,reason\n"
    assert prepared.synthetic
    assert prepared.sample_rate_hz == 16_000


def test_one_row_a_record(prepared: DataFolder) -> None:
    with open(prepared.path / "clips.csv", newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    records = records_of(prepared.path)
    assert [row["id"] for row in cells] == sorted(records)
    assert len(prepared.rows) == 21
    assert {row.speaker for row in prepared.rows} == {"sample/01", "sample/02", "sample/03"}
    assert len({row.label for row in prepared.rows}) == 7
    for row in prepared.rows:
        record = records[row.id]
        assert row.streams == ("audio", "video")
        assert row.num_samples == len(record["audio"]) == pytest.approx(32_000, abs=1_600)
        assert record["video"].shape == (4, 48, 48, 1)
        assert row.num_faces == record["video_mask"].sum()
        assert (row.start_s, row.recording.partition("/")[0]) == (0.0, "sample")
        assert row.end_s == pytest.approx(2.0, abs=0.1)


def test_haar_finds_the_drawn_faces(prepared: DataFolder) -> None:
    assert sum(row.num_faces for row in prepared.rows) >= 0.9 * 4 * 21
    for record in records_of(prepared.path).values():
        for crop, has_face in zip(record["video"], record["video_mask"], strict=True):
            assert (crop.std() > 10) == has_face


def test_speakers_are_apart(prepared: DataFolder) -> None:
    parts = {part: prepared.subset(part) for part in ("train", "validation", "test")}
    assert [len(rows) for rows in parts.values()] == [7, 7, 7]
    assert not overlaps(DataFootprint.of(parts["train"] + parts["validation"]), parts["test"])
    assert not overlaps(DataFootprint.of(parts["train"]), parts["validation"])


def test_again_there_is_nothing_to_do(
    prepared: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(prepared.path)
    words = ("--detector", "haar", "--num-frames", "4", "--face-size", "48")
    assert preprocess("sample", sample_source(), prepared.path, *words) == EXIT_OK
    assert files_below(prepared.path) == before
    assert "21 records in" in (printed := capsys.readouterr().out)
    assert "no clip was read now" in printed


def test_another_setting_is_refused_with_the_remedy(
    prepared: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(prepared.path)
    words = ("--detector", "haar", "--num-frames", "5", "--face-size", "48")
    assert preprocess("sample", sample_source(), prepared.path, *words) == EXIT_FAILURE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"Error: {prepared.path}: prepared otherwise (preparation.sampling.num_frames: 4 there,"
        " 5 now); choose another --out, or --overwrite to begin anew\n"
    )
    assert files_below(prepared.path) == before


def test_any_number_of_workers_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "MAX_CLIPS_PER_SHARD", 8)
    monkeypatch.setattr(sharding, "MIN_SHARDS", 1)
    words = (*NONE, "--num-frames", "2", "--face-size", "32")
    for workers in "012":
        out = tmp_path / workers
        more = ("--workers", workers)
        assert preprocess("sample", sample_source(), out, *words, *more) == EXIT_OK
    none, one, two = (files_below(tmp_path / workers) for workers in "012")
    assert none == one == two
    assert sum(name.endswith(".tfrecord") for name in one) == 3


# === Only what is missing ===


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    folder = tmp_path / "tones"
    for number in range(4):
        write_sound(folder / f"{number}.wav", tone(1.0, hz=200 + 100 * number), 16_000)
    return own(folder, "0.wav", "1.wav", "2.wav", "3.wav")


def test_a_new_file_alone_is_prepared(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    before = files_below(out)
    write_sound(tones / "new.wav", tone(1.0, hz=900), 16_000)
    own(tones, "0.wav", "1.wav", "2.wav", "3.wav", "new.wav")
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    assert "; 1 clip read now" in capsys.readouterr().out
    after = files_below(out)
    assert after["shards/00000.tfrecord"] == before["shards/00000.tfrecord"]
    assert set(records_of(out)) == {f"{named(out)}/{name}.wav" for name in (*"0123", "new")}
    assert len(open_data_folder(out).rows) == 5


def test_a_changed_file_is_prepared_again_and_a_removed_one_goes(
    tones: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    before = {row.id: row.audio_hash for row in open_data_folder(out).rows}
    write_sound(tones / "2.wav", tone(1.5, hz=950), 16_000)
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    after = {row.id: row.audio_hash for row in open_data_folder(out).rows}
    assert {key for key in after if after[key] != before[key]} == {f"{named(out)}/2.wav"}
    own(tones, "0.wav", "1.wav", "3.wav")
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    assert [row.path for row in open_data_folder(out).rows] == ["0.wav", "1.wav", "3.wav"]
    assert len(records_of(out)) == 3


def test_a_changed_label_is_taken_over(tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    own(tones, "0.wav", "1.wav", "2.wav", "3.wav", label="happy")
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    assert {row.label for row in open_data_folder(out).rows} == {"happy"}


def test_overwrite_begins_anew(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    words = (*NONE, "--sample-rate", "8000")
    assert preprocess("manifest", tones, out, *words) == EXIT_FAILURE
    assert preprocess("manifest", tones, out, *words, "--overwrite") == EXIT_OK
    assert "4 clips read now" in capsys.readouterr().out
    assert {row.num_samples for row in open_data_folder(out).rows} == {8_000}
    assert open_data_folder(out).sample_rate_hz == 8_000


def test_a_split_that_was_chosen_stays_chosen(tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    words = ["split", "--data", str(out), "--test-speakers", "0", "--val-speakers", "1"]
    assert cli.main(words) == EXIT_OK
    chosen = open_data_folder(out).splits
    write_sound(tones / "new.wav", tone(1.0, hz=900), 16_000)
    own(tones, "0.wav", "1.wav", "2.wav", "3.wav", "new.wav")
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    splits = open_data_folder(out).splits
    assert splits.rule == chosen.rule
    assert splits.parts["test"] == (f"{named(out)}/0.wav",)
    assert len(splits.parts["train"]) == 3


# === Rejected ===


def test_bad_files_are_listed_and_the_rest_goes_on(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tones / "1.wav").write_text("no sound")
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_PARTIAL
    rejected = (out / "rejected.csv").read_text().splitlines()
    assert len(rejected) == 2
    assert rejected[1].startswith('1.wav,"1.wav: not readable as sound or video')
    assert "rejected 1.wav: " in (errors := capsys.readouterr().err)
    assert f"1 input rejected, all in {out / 'rejected.csv'}" in errors
    assert len(open_data_folder(out).rows) == 3
    # Known as rejected, so not tried again; said again all the same.
    assert preprocess("manifest", tones, out, *NONE) == EXIT_PARTIAL
    assert "no clip was read now" in capsys.readouterr().out
    write_sound(tones / "1.wav", tone(1.0, hz=777), 16_000)
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    assert len(open_data_folder(out).rows) == 4


def test_strict_fails_where_a_clip_is_rejected(tones: Path, tmp_path: Path) -> None:
    assert preprocess("manifest", tones, tmp_path / "a", *NONE, "--strict") == EXIT_OK
    (tones / "1.wav").write_text("no sound")
    assert preprocess("manifest", tones, tmp_path / "b", *NONE, "--strict") == EXIT_FAILURE
    assert len(open_data_folder(tmp_path / "b").rows) == 3


# === Long clips and sampling ===


def test_a_long_clip_becomes_consecutive_records(tmp_path: Path) -> None:
    wave = tone(7.0, 16_000, hz=300) * np.linspace(0.1, 1, 7 * 16_000).astype(np.float32)
    write_media(
        tmp_path / "in/long.mkv",
        [numbered_image(n) for n in range(7 * 25)],
        options=X264,
        waveform=wave,
        rate_hz=16_000,
        audio_codec="pcm_s16le",
    )
    out = tmp_path / "out"
    words = (*NONE, "--max-clip-s", "2", "--num-frames", "3", "--face-size", "64")
    assert preprocess("manifest", own(tmp_path / "in", "long.mkv"), out, *words) == EXIT_OK
    rows = open_data_folder(out).rows
    assert [row.id for row in rows] == [f"{named(out)}/long.mkv#{n:05d}" for n in range(4)]
    assert [row.start_s for row in rows] == [0.0, 1.75, 3.5, 5.25]
    assert [row.end_s for row in rows] == [1.75, 3.5, 5.25, 7.0]
    assert len({row.recording for row in rows}) == 1
    assert {row.num_frames for row in rows} == {3}
    records = records_of(out)
    joined = np.concatenate([from_pcm(records[row.id]["audio"]) for row in rows])
    np.testing.assert_allclose(joined, wave, atol=2e-4)


def test_an_empty_stretch_of_a_long_clip_is_counted_not_dropped(tmp_path: Path) -> None:
    waveform = np.concatenate([tone(2.0), np.zeros(32_000, np.float32), tone(2.0, hz=600)])
    write_sound(tmp_path / "in" / "03-01-03-01-01-01-01.wav", waveform, 16_000)
    code = preprocess("ravdess", tmp_path / "in", tmp_path / "out", "--max-clip-s", "2")
    assert code == EXIT_OK
    folder = open_data_folder(tmp_path / "out")
    assert [row.excluded for row in folder.rows] == ["", "no audio, face or text", ""]
    assert [row.start_s for row in folder.subset("all")] == [0.0, 4.0]


def test_every_third_frame(tmp_path: Path) -> None:
    pictures = [numbered_image(n, 64) for n in range(50)]
    write_media(tmp_path / "in/x.mp4", pictures, options=X264)
    out = tmp_path / "out"
    words = (*NONE, "--sampling", "every-third", "--face-size", "64")
    assert preprocess("manifest", own(tmp_path / "in", "x.mp4"), out, *words) == EXIT_OK
    (record,) = records_of(out).values()
    # Counted from one, the 21st, 24th, ...
    assert [number_of(crop) + 1 for crop in record["video"]] == list(range(21, 51, 3))
    assert record["video_mask"].all()
    assert len(record["audio"]) == 0


def test_colour_size_and_rate(tmp_path: Path) -> None:
    pictures = [np.full((64, 64, 3), (200, 40, 90), np.uint8)] * 5
    write_media(tmp_path / "in/x.mp4", pictures, options=X264, waveform=tone(0.2, 48_000))
    out = tmp_path / "out"
    words = (*NONE, "--face-color", "rgb", "--face-size", "20", "--sample-rate", "48000")
    assert preprocess("manifest", own(tmp_path / "in", "x.mp4"), out, *words) == EXIT_OK
    (record,) = records_of(out).values()
    assert record["video"].shape == (5, 20, 20, 3)
    np.testing.assert_allclose(record["video"].mean(axis=(0, 1, 2)), (200, 40, 90), atol=4)
    assert record["sample_rate_hz"] == 48_000
    assert len(record["audio"]) == pytest.approx(9_600, abs=500)


def test_the_margin_around_a_face(tmp_path: Path) -> None:
    """With half the side on each side, the middle half of a crop is the face without a margin."""
    (tmp_path / "in").mkdir()
    shutil.copy(sorted(sample_source().rglob("*.mp4"))[0], tmp_path / "in/x.mp4")
    crops = {}
    for margin in ("0", "0.5"):
        out = tmp_path / f"out-{margin}"
        words = ("--detector", "haar", "--num-frames", "1", "--face-size", "64")
        source = own(tmp_path / "in", "x.mp4")
        assert preprocess("manifest", source, out, *words, "--face-margin", margin) == EXIT_OK
        assert open_data_folder(out).crop_format.margin == float(margin)
        (record,) = records_of(out).values()
        crops[margin] = record["video"][0, :, :, 0]
    middle = cv2.resize(crops["0.5"][16:48, 16:48], (64, 64)).astype(float)
    assert np.abs(middle - crops["0"]).mean() < 0.5 * np.abs(crops["0.5"] - middle).mean()


def test_frames_without_a_face_are_masked_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The drawn face goes after a second; what stays is a picture without one."""
    clip = sorted(sample_source().rglob("*.mp4"))[0]
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    empty = np.full_like(pictures[0], 128)
    write_media(tmp_path / "in/x.mp4", pictures[:25] + [empty] * 25, options=X264)
    out = tmp_path / "out"
    words = ("--detector", "haar", "--num-frames", "8")
    assert preprocess("manifest", own(tmp_path / "in", "x.mp4"), out, *words) == EXIT_OK
    (record,) = records_of(out).values()
    assert record["video_mask"].tolist() == [True] * 4 + [False] * 4
    assert record["video"][4:].max() == 0
    assert record["video"][:4].std() > 10
    (row,) = open_data_folder(out).rows
    assert (row.num_frames, row.num_faces) == (8, 4)
    assert "frames looked at: 8, without a face (masked): 4" in capsys.readouterr().out


# === Duplicates and splits of one's own ===


def test_a_recording_under_two_names_is_kept_once(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(tones / "1.wav", tones / "copy.wav")
    names = ("0.wav", "1.wav", "2.wav", "3.wav", "copy.wav")
    out = tmp_path / "out"
    assert preprocess("manifest", own(tones, *names), out, *NONE) == EXIT_OK
    printed = capsys.readouterr().out
    name = named(out)
    assert f"equal content: 1 group, for one {name}/1.wav = {name}/copy.wav" in printed
    assert "left out of training and evaluation: 1 record, same content" in printed
    folder = open_data_folder(out)
    (left_out,) = [row for row in folder.rows if row.excluded]
    assert left_out.id == f"{name}/copy.wav"
    assert left_out.id not in {row.id for row in folder.subset("all")}


def test_a_pair_on_two_sides_is_left_to_stop_training(tones: Path, tmp_path: Path) -> None:
    shutil.copy(tones / "1.wav", tones / "copy.wav")
    lines = ["1.wav,sad,a,train", "2.wav,sad,b,validation", "copy.wav,sad,c,test"]
    (tones / "manifest.csv").write_text("\n".join(["path,label,speaker,split", *lines]))
    out = tmp_path / "out"
    assert preprocess("manifest", tones, out, *NONE) == EXIT_OK
    folder = open_data_folder(out)
    assert not any(row.excluded for row in folder.rows)
    found = overlaps(DataFootprint.of(folder.subset("train")), folder.subset("test"))
    assert found == [f"the content of {named(out)}/copy.wav"]


# === Usage ===


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus", "ravdess"], "--corpus ravdess needs --source"),
        (["--source", "x"], "--source needs --corpus, one of ravdess, "),
        (["--corpus", "tess2", "--source", "x"], "'tess2' is not one of 'ravdess'"),
        (["--detector", "best"], "'best' is not one of 'haar'"),
        (["--num-frames", "0"], "0 is not in the range"),
        (["--sampling", "random"], "'random' is not one of 'time', 'every-third'"),
    ],
)
def test_wrong_usage_of_preprocess_ends_with_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["preprocess", *words]) == EXIT_USAGE
    assert message in capsys.readouterr().err


# === Real recordings ===


@pytest.mark.real
def test_the_known_duplicate_of_ravdess(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    shutil.copytree(real_data / "ravdess/Actor_07", source / "Actor_07")
    for speaker in ("01", "02"):
        name = f"03-01-03-01-02-01-{speaker}.flac"
        (source / name).symlink_to(real_data / f"ravdess/Actor_{speaker}" / name)
    out = tmp_path / "out"
    assert preprocess("ravdess", source, out) == EXIT_OK
    first, second = (f"ravdess/Actor_07/03-01-03-01-02-{take}-07.flac" for take in ("01", "02"))
    printed = capsys.readouterr().out
    assert f"equal content: 1 group, for one {first} = {second}" in printed
    folder = open_data_folder(out)
    assert {row.id: row.excluded for row in folder.rows if row.excluded} == {
        second: f"same content under another name: {first}"
    }
    assert len(folder.rows) == 62
    assert len(folder.subset("all")) == 61
    assert {row.streams for row in folder.rows} == {("audio", "text")}


@pytest.mark.real
def test_original_ravdess_equals_the_16_khz_copies(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert preprocess("ravdess", real_data / "ravdess_original", out) == EXIT_OK
    records = records_of(out)
    assert len(records) == 10
    for name, record in records.items():
        path = (real_data / "ravdess" / name.removeprefix("ravdess/")).with_suffix(".flac")
        lowered, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == 16_000
        ours = from_pcm(record["audio"])
        assert abs(len(ours) - len(lowered)) <= 16
        length = min(len(ours), len(lowered))
        assert np.corrcoef(ours[:length], lowered[:length])[0, 1] > 0.99
        ratio = np.sqrt(np.mean(ours[:length] ** 2) / np.mean(lowered[:length] ** 2))
        assert ratio == pytest.approx(1.0, rel=0.02)
    rows = {row.id: row for row in open_data_folder(out).rows}
    pair = [rows[f"ravdess/Actor_07/03-01-03-01-02-0{n}-07.wav"] for n in (1, 2)]
    assert pair[0].audio_hash == pair[1].audio_hash
    assert [bool(row.excluded) for row in pair] == [False, True]


@pytest.mark.real
def test_real_clips(real_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    names = sorted(path.name for path in (real_data / "clips").iterdir())
    for name in names:
        (source / name).symlink_to(real_data / "clips" / name)
    out = tmp_path / "out"
    lines = [f"{real_data / 'clips' / name},sad,{place}" for place, name in enumerate(names)]
    (source / "manifest.csv").write_text("\n".join(["path,label,speaker", *lines]))
    words = ("--detector", "haar", "--num-frames", "8")
    assert preprocess("manifest", source, out, *words) == EXIT_OK
    rows = {Path(row.path).name.partition("#")[0]: row for row in open_data_folder(out).rows}
    assert rows["01-01-08-02-01-01-19.mp4"].streams == ("video",)
    assert rows["01-01-08-02-01-01-19.mp4"].num_faces == 8
    assert rows["fer_test.mp4"].streams == ("video",)
    assert rows["pyfeat_single_face.mp4"].num_faces == 8
    assert "audio" in rows["pyfeat_no_face.mp4"].streams
    # A boosted cascade may see one now and then.
    assert rows["pyfeat_no_face.mp4"].num_faces <= 2
    assert json.loads((out / "preprocess.json").read_text())["preparation"]["detector"] == "haar"
