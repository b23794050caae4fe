"""A fusion recipe with parts trains the streams that it needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK
from tests.support.models import error_line, run

# What is tested stands in options, notes and files; what is learnt is of no matter.
pytestmark = pytest.mark.usefixtures("no_training")

FEW = ("--set", "audio.epochs=1", "--set", "video.epochs=1", "--set", "video.dense_dropout=0.1")


def told(path: Path) -> dict:
    return json.loads((path / "run.json").read_text())


def test_parts_are_trained_once(toy_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    words = ("train", "--recipe", "two-stream-sum", "--data", toy_data, "--out", out, "--seed", 3)
    assert run(*words, *FEW) == EXIT_OK
    audio, video = told(tmp_path / "whole-audio"), told(tmp_path / "whole-video")
    assert (audio["recipe"]["name"], video["recipe"]["name"]) == ("relu-cnn-audio", "elu-cnn-video")
    assert audio["recipe"]["training"]["epochs"] == video["recipe"]["training"]["epochs"] == 1
    assert video["recipe"]["encoder_settings"] == {"dense_dropout": 0.1}
    assert {audio["seed"], video["seed"], told(out)["seed"]} == {3}
    assert told(out)["streams"] == ["audio", "video"]
    written = [
        (tmp_path / f"whole-{s}" / "best.keras").stat().st_mtime_ns for s in ("audio", "video")
    ]
    assert run(*words, *FEW, "--overwrite") == EXIT_OK
    again = [
        (tmp_path / f"whole-{s}" / "best.keras").stat().st_mtime_ns for s in ("audio", "video")
    ]
    assert again == written


def test_a_named_run_stands_for_its_part(toy_data: Path, audio_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    words = ("train", "--recipe", "two-stream-sum", "--data", toy_data, "--out", out)
    assert run(*words, "--audio-run", audio_run, *FEW) == EXIT_OK
    assert not (tmp_path / "whole-audio").exists()
    assert told(tmp_path / "whole-video")["finished"]


def test_a_bad_setting_of_a_part(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "--recipe", "two-stream-sum", "--data", toy_data, "--out", tmp_path / "whole")
    assert run(*words, "--set", "audio.size=3") == EXIT_FAILURE
    assert "--set size: no such setting" in error_line(capsys.readouterr().err)
    assert not (tmp_path / "whole-audio").exists()


def test_a_finished_part_that_was_trained_otherwise(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "--recipe", "two-stream-sum", "--data", toy_data, "--out", tmp_path / "whole")
    assert run(*words, *FEW) == EXIT_OK
    shutil.rmtree(tmp_path / "whole")
    capsys.readouterr()
    assert run(*words, *FEW, "--seed", 4) == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert "whole-audio: trained with another seed; take it all the same by its name" in line
    assert run(*words, *FEW, "--set", "audio.learning_rate=0.01", "--overwrite") == EXIT_OK
    assert told(tmp_path / "whole-audio")["recipe"]["training"]["learning_rate"] == 0.01
