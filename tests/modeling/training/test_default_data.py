"""Commands without `--data`: the sample stands in only where nothing else can be meant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from affectstream.commands.options import sample_data
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.preprocessing.dataset.data_folder import read_settings, write_settings
from tests.support.models import error_line, records, run, train, write_data

# What is tested stands in options, notes and files; what is learnt is of no matter.
pytestmark = pytest.mark.usefixtures("no_training")

AUDIO = ("train", "--stream", "audio")


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Commands that would be run within another, in an empty folder; none is."""
    made: list[tuple[str, ...]] = []

    def noted(*words: object) -> int:
        made.append(tuple(map(str, words)))
        raise UserError("would be done now")

    def never(*_: object) -> None:
        raise AssertionError("the sample was synthesised")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample_data, "run_command", noted)
    monkeypatch.setattr(sample_data, "write_sample", never)
    return made


def prepared(*folders: str) -> None:
    for folder in folders:
        write_data(Path(folder), records(1, streams=("audio",)))


# === Data that may be meant ===


@pytest.mark.parametrize(
    "words",
    [
        AUDIO,
        ("train", "--recipe", "two-stream-sum"),
        ("train", "--stream", "fusion"),
        ("crossval", "--recipe", "statistics-linear"),
        ("evaluate", "--run", "runs/audio"),
        ("features", "--out", "table.csv"),
        ("split", "--folds", "3"),
        ("augment", "--out", "data/augmented"),
    ],
)
@pytest.mark.parametrize("here", ["data/mine", "mine"])
def test_a_forgotten_data_option_is_asked_for(
    words: tuple[str, ...],
    here: str,
    typed: list[tuple[str, ...]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepared(here)
    assert run(*words) in (EXIT_USAGE, EXIT_FAILURE)
    assert f"Error: name --data: prepared here is {here}" in capfd.readouterr().err
    assert not typed


def test_all_that_may_be_meant_is_listed(
    typed: list[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """The default place too, and what preprocess began but did not end is no data yet."""
    prepared("data/records", "data/b", "data/a", "elsewhere")
    (Path("data") / "begun" / "shards").mkdir(parents=True)
    assert run(*AUDIO) == EXIT_USAGE
    told = "name --data: prepared here are data/a, data/b, elsewhere, data/records"
    assert told in capfd.readouterr().err
    assert run("preprocess") == EXIT_USAGE
    told = "name --corpus and --source, or --corpus sample for the built-in SYNTHETIC one: other"
    said = capfd.readouterr().err
    assert f"{told} data were prepared here (data/a, data/b, elsewhere)" in said
    assert not Path("data/sample").exists()


def test_the_default_place_alone_is_taken_and_named(
    typed: list[tuple[str, ...]], toy_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(toy_data, "data/records")
    assert train(Path("runs/face"), "--epochs", 1) == EXIT_OK
    assert not typed
    assert "data        data/records" in capfd.readouterr().err


# === Checked before anything is made ===


def test_a_taken_place_is_noticed_before_the_sample_is_made(
    typed: list[tuple[str, ...]], audio_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(audio_run, "runs/audio")
    shutil.copytree(audio_run, "runs/fusion")
    Path("runs/multi-video").mkdir()
    (Path("runs/multi-video") / "letter.txt").write_text("keep me")
    commands: tuple[tuple[tuple[str, ...], str], ...] = (
        (AUDIO, "runs/audio"),
        (("train", "--stream", "fusion"), "runs/fusion"),
        (("train", "--recipe", "two-stream-sum"), "runs/fusion"),
    )
    for words, place in commands:
        assert run(*words) == EXIT_FAILURE
        line = error_line(capfd.readouterr().err)
        assert f"{place}: holds a finished run; choose another --out or --overwrite" in line
    assert run("train", "--recipe", "two-stream-sum", "--out", "runs/multi") == EXIT_FAILURE
    assert "runs/multi-video: not empty and not a run" in error_line(capfd.readouterr().err)
    for options, told in (
        (("--out", "runs/new", "--resume"), "runs/new: no run to resume"),
        (("--out", "runs/new", "--init-from", "nowhere"), "nowhere: not a run folder"),
        (("--out", "runs/new", "--set", "epoch=3"), "--set epoch: no such setting"),
    ):
        assert run(*AUDIO, *options) == EXIT_FAILURE
        assert told in error_line(capfd.readouterr().err)
    assert not typed
    assert not Path("data").exists()


def test_preprocess_checks_before_it_makes_the_sample(
    typed: list[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    prepared("data/records")
    for shard in Path("data/records/shards").glob("*.tfrecord"):
        shard.with_suffix(".json").write_text("{}")
    assert run("preprocess") == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "data/records: prepared otherwise (" in line and "corpus: toy there, sample now" in line
    words = ("--action-units", "mediapipe", "--detector", "haar", "--out", "data/new")
    assert run("preprocess", "--corpus", "sample", *words) == EXIT_USAGE
    assert "--detector is for face crops" in capfd.readouterr().err
    assert not Path("data/sample").exists() and not Path("data/new").exists()


# === A fusion without runs ===


def test_a_fusion_says_which_runs_it_trains_first(
    typed: list[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--stream", "fusion") == EXIT_FAILURE
    assert typed == [("preprocess",)]  # then the training of the voice
    assert capfd.readouterr().err.splitlines()[0] == (
        "no runs named, and no runs/audio and no runs/video: each is trained first, with all"
        " defaults, on the built-in SYNTHETIC sample corpus, 112 clips written to data/sample and"
        " prepared in data/records first (some minutes); scores on it say nothing about people"
    )


def test_a_fusion_checks_places_before_it_announces_the_sample(
    typed: list[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("runs/audio").mkdir(parents=True)
    (Path("runs/audio") / "letter.txt").write_text("keep me")
    assert run("train", "--stream", "fusion") == EXIT_FAILURE
    said = capfd.readouterr().err
    assert "runs/audio: not empty and not a run" in error_line(said)
    assert "is trained first" not in said and "sample" not in said
    assert not typed
    assert not Path("data").exists()


def test_a_fusion_of_data_or_of_a_run_of_ones_own_trains_nothing_unasked(
    typed: list[tuple[str, ...]],
    toy_data: Path,
    audio_run: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--stream", "fusion", "--data", toy_data) == EXIT_USAGE
    told = "no runs/audio and no runs/video to fuse; train it (`train --stream audio --data PATH`)"
    assert told in capfd.readouterr().err
    shutil.copytree(audio_run, "runs/audio")
    assert run("train", "--stream", "fusion") == EXIT_USAGE
    assert "no runs/video to fuse; train it (`train --stream video" in capfd.readouterr().err
    assert not typed


def test_the_runs_that_are_there_are_named(
    typed: list[tuple[str, ...]],
    audio_run: Path,
    video_run: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(audio_run, "runs/audio")
    shutil.copytree(video_run, "runs/video")
    assert run("train", "--stream", "fusion") == EXIT_OK
    assert "no runs named: fusing runs/audio and runs/video" in capfd.readouterr().err
    assert json.loads(Path("runs/fusion/run.json").read_text())["notes"] == []


def test_a_synthetic_default_place_is_told(typed: list[tuple[str, ...]], toy_data: Path) -> None:
    shutil.copytree(toy_data, "data/records")
    assert sample_data.describe_default_data(sample_data.DEFAULT_DATA_FOLDER) == "data/records"
    write_settings(
        sample_data.DEFAULT_DATA_FOLDER,
        {**read_settings(sample_data.DEFAULT_DATA_FOLDER), "synthetic": True},
    )
    assert (
        sample_data.describe_default_data(sample_data.DEFAULT_DATA_FOLDER)
        == "data/records, a SYNTHETIC corpus"
    )
