"""The block that `train` and `crossval` open with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from affectstream.core.errors import EXIT_OK
from affectstream.modeling.runs.checkpoints import load_model
from tests.support import models
from tests.support.models import record, records, run, write_data

# What is tested stands in options, notes and files; what is learnt is of no matter.
pytestmark = pytest.mark.usefixtures("no_training")

NAMES = "neutral, happy, sad, angry, fearful, disgust, surprised"


def block(said: str) -> list[str]:
    """Lines from `recipe` to `writes to`; fails where there is more than one such block."""
    lines = said.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("recipe  ")]
    assert len(starts) == 1, said
    end = next(n for n, line in enumerate(lines) if line.startswith("writes to"))
    return lines[starts[0] : end + 1]


def counts(path: Path) -> tuple[int, int]:
    """All and trained parameters of a model."""
    model = load_model(path / "best.keras")
    trained = sum(int(v.numpy().size) for v in model.trainable_variables)
    return model.count_params(), trained


def test_the_training_of_a_stream_is_introduced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Merged and left out labels, a clip without the stream, a person, synthetic data."""
    made = records(3, labels=("calm", *models.LABELS), streams=("audio",))
    made += [record("01", "excited", take, streams=("audio",)) for take in (0, 1)]
    made += [record("02", "love", streams=("audio",)), record("03", "sad", 7, streams=("video",))]
    data, out = write_data(tmp_path / "data", made, synthetic=True), tmp_path / "run"
    words = ("--recipe", "relu-cnn-audio", "--batch-size", 7, "--data", data, "--out", out)
    assert (
        run("train", *words, "--epochs", 1, "--seed", 4, "--set", "features=log_mel_128_16k")
        == EXIT_OK
    )
    total, trained = counts(out)
    assert block(capfd.readouterr().err) == [
        "recipe      relu-cnn-audio (audio), 1 epoch, batches of 7, seed 4",
        f"labels      basic7 ({NAMES}), calm -> neutral (3); left out: excited 2, love 1,"
        " without audio 1",
        f"data        {data} (SYNTHETIC)",
        "clips       train 8 of 1 person, validation 8 of 1 person, test 8 of 1 person",
        f"parameters  {total:,}, of which {trained:,} are trained",
        f"writes to   {out}",
    ]


def test_people_who_are_not_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = [
        dataclasses.replace(one, speaker="") for one in records(2, num_takes=8, streams=("text",))
    ]
    data, out = write_data(tmp_path / "data", made), tmp_path / "run"
    words = ("--set", "min_df=1", "--epochs", 1, "--data", data, "--out", out)
    assert run("train", "--recipe", "tfidf-text", *words) == EXIT_OK
    told = block(capfd.readouterr().err)[3]
    assert told == (
        "clips       train 91 (people unknown), validation 10 (people unknown),"
        " test 11 (people unknown)"
    )


def test_the_training_of_a_fusion_is_introduced(
    audio_run: Path,
    video_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    out = tmp_path / "dense"
    words = ("--recipe", "dense-fusion", "--epochs", 2, "--out", out)
    assert run("train", *words, *runs) == EXIT_OK
    total, _ = counts(out)
    streams = [counts(path)[0] for path in (audio_run, video_run)]
    found = block(capfd.readouterr().err)
    assert found[0] == (
        "recipe      dense-fusion (audio+video), fusion dense, 2 epochs, batches of 32, seed 0"
    )
    assert found[2:4] == [
        f"data        {toy_data}",
        "clips       train 14 of 1 person, validation 14 of 1 person, test 14 of 1 person",
    ]
    assert found[4].startswith(f"parameters  {total:,}, of which ")
    assert found[4].endswith(f"{total - sum(streams):,} are trained")
    out = tmp_path / "alone"
    assert run("train", "--recipe", "late-fusion", "--unpaired", "--out", out, *runs) == EXIT_OK
    found = block(capfd.readouterr().err)
    assert found[0] == (
        "recipe      late-fusion (audio+video), fusion calibrated_late, calibrated, no epochs"
    )
    assert found[2] == (
        f"data        none is read: audio was trained on {toy_data},"
        f" video was trained on {toy_data}"
    )
    assert found[3].endswith(", of which 0 are trained")


def test_networks_that_are_averaged_are_introduced_once(
    toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--recipe",
        "resnet-asp-audio",
        "--epochs",
        1,
        "--data",
        toy_data,
        "--out",
        tmp_path / "run",
    )
    settings = models.settings(
        "ensemble_size=2", "width=4", "cached_augmentations=1", "transforms="
    )
    assert run("train", *words, *settings) == EXIT_OK
    told = block(capfd.readouterr().err)[0]
    assert told.startswith("recipe      resnet-asp-audio (audio), 2 networks averaged, 1 epoch, ")


def test_a_crossval_is_introduced_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = write_data(tmp_path / "data", records(4, streams=("text",))), tmp_path / "out"
    words = (
        "--recipe",
        "tfidf-text",
        "--set",
        "min_df=1",
        "--folds",
        3,
        "--seeds",
        2,
        "--epochs",
        1,
    )
    assert run("crossval", *words, "--data", data, "--out", out) == EXIT_OK
    total, trained = counts(out / "fold-1-seed-0")
    assert block(capfd.readouterr().err) == [
        "recipe      tfidf-text (text), 1 epoch, batches of 64",
        f"labels      basic7 ({NAMES})",
        f"data        {data}",
        "clips       28 of 4 people; in fold 1 train 7 of 1 person, validation 7 of 1 person,"
        " test 14 of 2 people",
        "trainings   6: 3 folds, 2 seeds",
        f"parameters  {total:,}, of which {trained:,} are trained",
        f"writes to   {out}",
    ]
