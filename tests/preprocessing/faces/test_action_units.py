"""Action units as the video stream: tables, records, training, export, answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora.filename_corpora import RAVDESS
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.faces.action_units import ActionUnitTrack
from affectstream.preprocessing.faces.openface import read_action_units
from affectstream.preprocessing.records.record import read_records, read_shard
from affectstream.serving.inference.predict_options import PredictOptions
from tests.support import models

pytestmark = pytest.mark.slow

NAMES = ("AU01_r", "AU12_r", "AU12_c")
RNG = np.random.default_rng(0)


def table(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# === Reading ===


def test_one_row_a_recording(tmp_path: Path) -> None:
    lines = ["AU01_r; AU12_r ;AU12_c;speech;name", "1.5;0.25;1;9;x/01-a.mp4", "2;;0;9;02-b"]
    read = read_action_units(table(tmp_path / "au.csv", lines))
    assert read.names == NAMES
    assert set(read.tracks) == {"x/01-a", "02-b"}
    first, second = read.tracks["x/01-a"], read.tracks["02-b"]
    assert first.values.tolist() == [[1.5, 0.25, 1.0]]
    assert first.values.dtype == np.float32
    assert first.mask.tolist() == [True]
    assert not second.mask.any(), "an empty cell is no measurement"
    assert first.slice_time(4, 5).values.tolist() == first.values.tolist()


def test_one_row_a_frame(tmp_path: Path) -> None:
    lines = [
        "frame, face_id, timestamp, success, AU01_r, AU12_r, AU12_c",
        "1, 0, 0.0, 1, 1, 2, 0",
        "3, 0, 0.4, 0, 8, 8, 1",
        "2, 0, 0.2, 1, 3, 4, 1",
        "2, 1, 0.2, 1, 5, 5, 1",
    ]
    read = read_action_units(table(tmp_path / "01-a.csv", lines))
    (name, track), *others = read.tracks.items()
    assert (name, others) == ("01-a", [])
    assert track.times_s is not None
    assert track.times_s.tolist() == [0.0, 0.2, 0.4]
    assert track.values.tolist() == [[1, 2, 0], [3, 4, 1], [0, 0, 0]]
    assert track.mask.tolist() == [True, True, False]
    assert track.slice_time(0.1, 0.4).values.tolist() == [[3, 4, 1]]
    assert len(track.slice_time(2, 3).values) == 0


def test_a_folder_of_tables(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table(tmp_path / "out" / f"{name}.csv", ["timestamp,AU01_r", "0,1", "0.1,2"])
    read = read_action_units(tmp_path / "out")
    assert set(read.tracks) == {"a", "b"}
    table(tmp_path / "out" / "c.csv", ["timestamp,AU02_r", "0,1"])
    with pytest.raises(UserError, match=r"c\.csv: other action units than .*a\.csv"):
        read_action_units(tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["name,x", "a,1"], "no column AU01_r"),
        (["name,AU01_r"], "no row below its header"),
        (["AU01_r", "1", "2"], "2 rows but no column with .* name or clip or path"),
        (["name,AU01_r", "a,1", "a,2"], "several rows of a; "),
        (["frame,AU01_r", "1,1"], "no column timestamp"),
        (["name,AU01_r", "a,high"], "line 2: could not convert"),
        (["name,AU01_r", "a,1", "b"], "line 3: 1 of 2 columns"),
        (["timestamp,AU01_r", ",1"], "without timestamp"),
    ],
)
def test_tables_that_cannot_be_used(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_action_units(table(tmp_path / "au.csv", lines))
    assert "\n" not in str(caught.value)
    assert "au.csv" in str(caught.value)


def test_a_file_that_is_absent_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_action_units(tmp_path / "nowhere.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="not a table"):
        read_action_units(tmp_path / "x.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.csv in this folder"):
        read_action_units(tmp_path / "empty")


def test_recordings_have_several_names(tmp_path: Path) -> None:
    lines = ["name,AU01_r", "01-01-03-01-01-01-02,7"]
    read = read_action_units(table(tmp_path / "au.csv", lines))
    pattern = RAVDESS.recording_pattern
    assert pattern is not None
    track = read.tracks["01-01-03-01-01-01-02"]
    assert read.find("deep/03-01-03-01-01-01-02.wav", pattern) is track
    assert read.find("deep/01-01-03-01-01-01-02.mp4") is track
    assert read.find("03-01-03-01-01-01-02.wav") is None
    assert read.find("03-01-03-01-01-02-02.wav", pattern) is None


def test_digest_tells_a_change() -> None:
    one = ActionUnitTrack(np.ones((2, 3), np.float32), np.ones(2, bool))
    assert one.digest == dataclasses.replace(one).digest
    assert one.digest != dataclasses.replace(one, values=one.values + 1).digest
    assert one.digest != dataclasses.replace(one, times_s=np.arange(2.0)).digest


# === Preprocess to predict ===


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers say eight emotions, half a second each."""
    folder = tmp_path_factory.mktemp("ravdess")
    for speaker in range(1, 7):
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02d}-01-01-01-{speaker:02d}.wav"
            sound = models.sound(emotion - 1, RNG, models.RATE_HZ, 0.5)
            soundfile.write(folder / name, sound, models.RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the audio-visual names whose third column tells the emotion."""
    lines = ["name;AU01_r;AU12_r;AU12_c"]
    for speaker in range(1, 7):
        for emotion in range(1, 9):
            name = f"01-01-{emotion:02d}-01-01-01-{speaker:02d}"
            lines.append(f"{name};{emotion + speaker / 50};{emotion % 3};{int(emotion > 4)}")
    return table(tmp_path_factory.mktemp("table") / "au.csv", lines)


@pytest.fixture(scope="module")
def data(source: Path, units: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "data"
    assert preprocess(source, units, out) == 0
    return out


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "units"
    words = ("--recipe", "action-units", "--batch-size", 8, "--epochs", 30)
    assert models.run("train", *words, "--data", data, "--out", out) == 0
    return out


def preprocess(source: Path, units: Path, out: Path, *words: object) -> int:
    options = ("--corpus", "ravdess", "--source", source, "--out", out, "--workers", 0)
    return models.run("preprocess", *options, "--action-units", units, *words)


def test_records_hold_the_rows(data: Path) -> None:
    folder = open_data_folder(data)
    assert folder.action_units is not None
    assert (folder.action_units.source, folder.action_units.names) == ("openface", NAMES)
    assert len(folder.rows) == 48
    assert all(row.streams == ("audio", "video", "text") for row in folder.rows)
    rows = {row.id: row for row in folder.rows}
    paths = folder.shard_paths(folder.rows)
    assert len(paths) == 16
    for record in (one for path in paths for one in read_records(path, rows)):
        emotion, speaker = (int(record.id[:-4].split("-")[i]) for i in (2, 6))
        told = [[emotion + speaker / 50, emotion % 3, int(emotion > 4)]]
        np.testing.assert_allclose(record.faces, told, rtol=1e-6)
        assert record.faces.dtype == np.float32
    first = next(iter(read_shard(paths[0], action_units=True)))
    assert first["video"].shape == (1, 3)
    assert first["video"].dtype == np.float32


def test_clips_without_a_row(
    source: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are kept without a video stream; a changed table redoes their shards only."""
    lines = units.read_text(encoding="utf-8").splitlines()
    short = table(tmp_path / "short.csv", lines[:-2])
    out = tmp_path / "data"
    assert preprocess(source, short, out) == 0
    said = capsys.readouterr().err
    assert "warning: 2 clips have no row in" in said
    assert "03-01-07-01-01-01-06.wav" in said
    rows = open_data_folder(out).rows
    assert sum(row.streams == ("audio", "text") for row in rows) == 2
    assert preprocess(source, short, out) == 0
    assert "no clip was read now" in capsys.readouterr().out
    assert preprocess(source, units, out) == 0
    assert "6 clips read now" in capsys.readouterr().out
    assert all("video" in row.streams for row in open_data_folder(out).rows)


def test_a_table_of_other_recordings(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = table(tmp_path / "au.csv", ["clip,AU01_r", "someone,1"])
    assert preprocess(source, other, tmp_path / "data") == 1
    line = models.error_line(capsys.readouterr().err)
    assert "no row fits a recording (ids are read from column clip, like 'someone'" in line
    assert "03-01-01-01-01-01-01.wav" in line


def test_a_detector_is_not_wanted(source: Path, units: Path, tmp_path: Path) -> None:
    assert preprocess(source, units, tmp_path / "data", "--detector", "haar") == 2


def test_training_learns(run: Path) -> None:
    from affectstream.modeling.runs.run_folder import read_run

    info = read_run(run)
    assert info.input["action_units"] == list(NAMES)
    assert info.scores["val_uar"] > 0.8


def test_answers_need_the_table(
    run: Path, source: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from affectstream.serving.loading import load

    wav = source / "03-01-05-01-01-01-02.wav"
    assert models.run("predict", wav, "--model", run) == 1
    line = models.error_line(capsys.readouterr().err)
    assert "action units of OpenFace, which cannot be computed here; give" in line
    assert models.run("export", "--run", run, "--out", tmp_path / "export") == 0
    read = read_action_units(units)
    answers = [
        load(model)(wav, PredictOptions(action_units=read)) for model in (run, tmp_path / "export")
    ]
    assert answers[0].label == answers[1].label == "angry"
    assert answers[0].face_coverage == 1.0
    for label, share in answers[0].probabilities.items():
        assert answers[1].probabilities[label] == pytest.approx(share, abs=1e-5)
    words = ("--model", run, "--action-units")
    other = table(tmp_path / "au.csv", [f"name,{','.join(NAMES)}", "someone,1,1,1"])
    assert models.run("predict", wav, *words, other) == 1
    assert "no row for it in" in capsys.readouterr().err
    lacking = table(tmp_path / "few.csv", ["name,AU01_r", "someone,1"])
    assert models.run("predict", wav, *words, lacking) == 1
    assert "lacks AU12_r, AU12_c" in models.error_line(capsys.readouterr().err)


def test_rows_of_each_window_are_used(run: Path, source: Path, tmp_path: Path) -> None:
    """Angry for two seconds, happy for two: the answer changes with the rows."""
    from affectstream.serving.loading import load

    wav = tmp_path / "talk.wav"
    soundfile.write(wav, RNG.normal(0, 0.1, 4 * models.RATE_HZ), models.RATE_HZ)
    lines = [f"timestamp,{','.join(NAMES)}"]
    for number in range(40):
        emotion = 5 if number < 20 else 3
        lines.append(f"{number / 10},{emotion},{emotion % 3},{int(emotion > 4)}")
    read = read_action_units(table(tmp_path / "talk.csv", lines))
    answer = load(run)(wav, PredictOptions(window_s=2, hop_s=2, action_units=read))
    assert [window.label for window in answer.windows] == ["angry", "happy"]


def test_a_fusion_goes_on_without(
    run: Path, data: Path, source: Path, units: Path, tmp_path: Path
) -> None:
    from affectstream.serving.loading import load

    words = ("--set", "transforms=", "--epochs", 1)
    assert models.train(tmp_path / "audio", *words, stream="audio", data=data) == 0
    streams = ("--audio-run", tmp_path / "audio", "--video-run", run)
    assert models.train(tmp_path / "fusion", *streams, stream="fusion") == 0
    assert models.run("export", "--run", tmp_path / "fusion", "--out", tmp_path / "export") == 0
    recognizer = load(tmp_path / "export")
    wav = source / "03-01-05-01-01-01-02.wav"
    both = recognizer(wav, PredictOptions(action_units=read_action_units(units)))
    assert set(both.streams) == {"audio", "video"}
    assert both.warnings == ("no speech in any of the sound: the voice answer means little",)
    alone = recognizer(wav)
    assert set(alone.streams) == {"audio"}
    wanted = "no action units (give OpenFace's table with --action-units FILE)"
    assert any(wanted in warning for warning in alone.warnings)
    assert recognizer.config["preparation"]["action_units"]["source"] == "openface"


# === The wrong kind ===


def test_wrong_kind_of_records(
    data: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(folder: Path, *words: object) -> str:
        assert models.train(tmp_path / "run", *words, data=folder) == 1
        return models.error_line(capsys.readouterr().err)

    assert "these hold action units" in line(data, "--recipe", "elu-cnn-video")
    assert "these hold face crops" in line(toy_data, "--recipe", "action-units")
    flipped = ("--recipe", "action-units", "--set", "transforms=flip")
    assert "these change face crops" in line(data, *flipped)


def test_action_units_are_augmented_by_sound_only(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copies"
    assert models.run("augment", "--data", data, "--out", out) == 1
    assert "holds action units" in models.error_line(capsys.readouterr().err)
    assert not out.exists()
    words = ("--transforms", "gain:probability=1", "--copies", 1, "--examples", 1)
    assert models.run("augment", "--data", data, "--out", out, *words) == 0
    folder = open_data_folder(out)
    copies = {row.id: row for row in folder.rows if row.copy_of}
    assert copies
    paths = folder.shard_paths(copies.values())
    assert all(r.faces.shape == (1, 3) for path in paths for r in read_records(path, copies))
    assert not list((out / "examples").glob("*.png"))


# === Encoder ===


def test_statistics_look_only_at_frames_that_count() -> None:
    from affectstream.modeling.encoders.video.action_units import MaskedStatistics

    values = RNG.normal(0, 1, (3, 5, 2)).astype(np.float32) - 9
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]], bool)
    found = np.asarray(MaskedStatistics()(values, mask))
    own = values[0, mask[0]]
    wanted = np.concatenate([own.mean(axis=0), own.std(axis=0), own.max(axis=0)])
    np.testing.assert_allclose(found[0], wanted, atol=2e-3)
    assert not found[1].any()
    np.testing.assert_allclose(found[2], [*values[2, 2], 0, 0, *values[2, 2]], atol=1e-6)


def test_encoder_takes_one_frame_or_many(tmp_path: Path) -> None:
    import keras

    from affectstream.modeling.encoders.video.action_units import action_units

    model = action_units((None, 35), 8)
    assert model.count_params() == 23_112
    model.save(tmp_path / "x.keras")
    again: Any = keras.saving.load_model(tmp_path / "x.keras")
    for num_frames in (1, 7):
        given = [RNG.normal(size=(2, num_frames, 35)), np.ones((2, num_frames), bool)]
        made = model(given)
        assert made["logits"].shape == (2, 8)
        assert made["embedding"].shape == (2, 64)
        np.testing.assert_allclose(again(given)["logits"], made["logits"], atol=1e-6)


# === Real ===


def test_the_table_of_ravdess_fits(real_data: Path) -> None:
    read = read_action_units(real_data / "openface" / "ravdess_au_means.csv")
    assert (len(read.tracks), len(read.names)) == (1200, 35)
    clips = RAVDESS.build_index(real_data / "ravdess").clips
    joined = read.join(clips, RAVDESS.recording_pattern)
    assert len(joined) == len(clips) == 1200
    assert all(np.isfinite(t.values).all() and t.mask.all() for t in joined.values())
