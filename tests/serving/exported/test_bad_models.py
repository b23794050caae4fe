"""Models and places that cannot be used: one clear line each, naming the file and the remedy."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, UserError
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.preprocessing.records import record as schema
from affectstream.serving import load
from affectstream.serving.inference.recognizer import Recognizer
from tests.support.factories import tone, write_sound
from tests.support.models import error_line, record, records, run, train, write_data


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "voice.wav", tone(1.0), 16_000)


def error_of(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that could do nothing."""
    capfd.readouterr()
    assert run(*words) == EXIT_FAILURE
    return error_line(capfd.readouterr().err)


# === Models ===


def empty_folder(path: Path) -> None:
    path.mkdir()


def a_file(path: Path) -> None:
    path.write_text("I am no model")


def foreign_saved_model(path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(path / "1"))


def damaged_saved_model(path: Path) -> None:
    (path / "1" / "assets").mkdir(parents=True)
    (path / "1" / "saved_model.pb").write_bytes(b"\\x00damaged")
    (path / "1" / "assets" / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "neither a run folder nor an export; train or export one first"),
        (empty_folder, "neither a run folder nor an export; train or export one first"),
        (a_file, "neither a run folder nor an export; train or export one first"),
        (foreign_saved_model, "a SavedModel without config.json; give one that `export` wrote"),
        (damaged_saved_model, "not as `export` writes it (lacks labels, "),
    ],
)
def test_what_is_no_model_is_refused(
    make: Callable[[Path], None],
    expected: str,
    tmp_path: Path,
    voice: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "model"
    make(path)
    line = error_of(capfd, "predict", voice, "--model", path)
    assert str(path) in line
    assert expected in line


def test_an_export_with_a_damaged_config(
    exported: Path, tmp_path: Path, voice: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "export"
    shutil.copytree(exported, path)
    config = path / "1" / "assets" / "config.json"
    config.write_text(config.read_text()[:100])
    assert f"{config}: damaged" in error_of(capfd, "predict", voice, "--model", path)
    assert f"{config}: damaged" in error_of(capfd, "describe", path)


def test_an_export_cut_short(
    exported: Path, tmp_path: Path, voice: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "export"
    shutil.copytree(exported, path)
    for data in (path / "1" / "variables").glob("*.data-*"):
        data.write_bytes(data.read_bytes()[:1000])
    line = error_of(capfd, "predict", voice, "--model", path)
    assert f"{path / '1'}: SavedModel cannot be read" in line
    assert "export" in line


def test_a_run_cut_short(
    video_run: Path, tmp_path: Path, voice: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(video_run, path)
    model = path / "best.keras"
    model.write_bytes(model.read_bytes()[:1000])
    for words in (
        ("predict", voice, "--model", path),
        ("describe", path),
        ("export", "--run", path, "--out", tmp_path / "e"),
    ):
        assert f"{model}: model cannot be read" in error_of(capfd, *words)
    assert not (tmp_path / "e").exists()


def test_a_run_of_another_version(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = json.loads((video_run / "run.json").read_text())
    info["recipe"]["from_the_future"] = 1
    atomic_io.write_checksummed_json(tmp_path / "run.json", info)
    line = error_of(capfd, "describe", tmp_path)
    assert f"{tmp_path / 'run.json'}: not of this version" in line
    assert "train again" in line


def test_a_checkpoint_cut_short(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(video_run, path)
    last = path / "last.keras"
    last.write_bytes(last.read_bytes()[:1000])
    capfd.readouterr()
    assert train(path, "--batch-size", 14, "--resume", data=toy_data) == EXIT_FAILURE
    assert f"{last}: model cannot be read" in error_line(capfd.readouterr().err)


# === Records ===


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_records_of_another_schema(
    command: str,
    video_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA", 2)
        data = write_data(tmp_path / "data", records(3, corpus="newer"), num_shards=1)
    words: dict[str, tuple[object, ...]] = {
        "train": ("--stream", "video", "--out", tmp_path / "run"),
        "evaluate": ("--run", video_run, "--split", "all"),
    }
    line = error_of(capfd, command, "--data", data, *words[command])
    shard = data / "shards" / "00000.tfrecord"
    assert f"{shard}: records of schema 2, this program reads 1; run `preprocess --over" in line


@pytest.mark.slow
def test_sound_and_pictures_of_odd_content_train(tmp_path: Path) -> None:
    """Silence, full scale, a single sample and a black face give numbers, not NaN."""
    made = records(3)
    odd: list[dict[str, Any]] = [
        {"waveform": np.zeros(9600, np.int16)},
        {"waveform": np.full(9600, 32767, np.int16)},
        {"waveform": np.array([1], np.int16)},
        {"waveform": np.tile(np.array([-32768, 32767], np.int16), 30_000)},
        {"faces": np.zeros((3, 32, 32, 1), np.uint8)},
        {"faces": np.full((1, 32, 32, 1), 255, np.uint8), "face_mask": np.ones(1, bool)},
    ]
    for index, changes in enumerate(odd):
        made[index] = dataclasses.replace(made[index], **changes)
    data = write_data(tmp_path / "data", made)
    out = tmp_path / "run"
    assert train(out, "--epochs", 1, "--batch-size", 7, stream="audio", data=data) == 0
    scores = json.loads((out / "run.json").read_text())["scores"]
    assert np.isfinite(list(scores.values())).all()


# === Places ===


def test_answers_that_cannot_be_written(
    audio_run: Path, voice: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for option in ("--csv", "--plot"):
        words = ("predict", voice, "--model", audio_run, option, voice / "x.png")
        capfd.readouterr()
        assert run(*words) == EXIT_FAILURE
        line = error_line(capfd.readouterr().err)
        assert str(voice) in line
        assert "a file stands where a folder is needed; choose another path" in line


def test_scores_that_cannot_be_written(
    audio_run: Path,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_io.Path, "write_text", full)
    words = ("evaluate", "--run", audio_run, "--data", toy_data, "--out", tmp_path / "s")
    line = error_of(capfd, *words)
    assert f"{tmp_path / 's' / 'metrics.json'}: disk full; free some space and run" in line
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_while_training_leaves_what_was_whole(
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import keras

    def full(self: Any, path: Any, *_: Any, **__: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    out = tmp_path / "run"
    capfd.readouterr()
    assert train(out, data=toy_data) == EXIT_FAILURE
    assert f"{out / 'best.keras'}: disk full" in error_line(capfd.readouterr().err)
    assert not list(out.glob("*.keras"))
    assert not list(out.glob("*.part-*"))


# === Ctrl-C ===


def test_interrupted_while_scoring(
    video_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    data = write_data(tmp_path / "data", [record("01", "happy", corpus="s")])
    monkeypatch.setattr(RecordDataset, "__call__", interrupt)
    words = ("--run", video_run, "--data", data, "--split", "all", "--out", tmp_path / "s")
    assert run("evaluate", *words) == EXIT_INTERRUPTED
    assert error_line(capfd.readouterr().err).startswith("Error: interrupted")
    assert not (tmp_path / "s").exists()


def test_interrupted_while_predicting(
    audio_run: Path,
    voice: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recognizer, "_answer", interrupt)
    assert run("predict", voice, "--model", audio_run) == EXIT_INTERRUPTED
    assert error_line(capfd.readouterr().err).startswith("Error: interrupted")


def test_load_in_python_raises_the_same_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run folder nor an export"):
        load(tmp_path)
