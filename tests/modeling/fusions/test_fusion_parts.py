"""A fusion of trained streams finds the data that they were trained on, or says that it cannot."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from affectstream.modeling.runs.run_folder import read_run, write_run
from tests.support import models
from tests.support.models import error_line, records, run, write_data

# What is tested stands in options, notes and files; what is learnt is of no matter.
pytestmark = pytest.mark.usefixtures("no_training")

Runs = dict[str, Path]


@pytest.fixture
def runs(audio_run: Path, video_run: Path, tmp_path: Path) -> Runs:
    """Copies of a run of sound and one of faces, trained on the same data."""
    made = {"audio": tmp_path / "audio", "video": tmp_path / "video"}
    for path, source in zip(made.values(), (audio_run, video_run), strict=True):
        shutil.copytree(source, path)
    return made


def told(run_folder: Path, **changes: Any) -> None:
    """Changes what a run says of its one data folder."""
    info = read_run(run_folder)
    write_run(run_folder, dataclasses.replace(info, data=[{**info.data[0], **changes}]))


def fuse(runs: Runs, out: Path, *words: object) -> int:
    named = [word for stream, path in runs.items() for word in (f"--{stream}-run", path)]
    return run("train", "--recipe", "late-fusion", *named, "--out", out, *words)


def test_data_that_are_gone_are_asked_for(
    runs: Runs, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    for path in runs.values():
        told(path, path=str(gone))
    out = tmp_path / "out"
    assert fuse(runs, out) == EXIT_FAILURE
    assert error_line(capfd.readouterr().err) == (
        f"Error: {gone}: the data that all runs were trained on, not there any more; name"
        " recordings that have the streams together with --data, or fuse them without paired data"
        " by --unpaired"
    )
    assert not out.exists()
    assert fuse(runs, out, "--data", toy_data) == EXIT_OK
    assert read_run(out).notes == ()
    assert fuse(runs, tmp_path / "alone", "--unpaired") == EXIT_OK
    assert read_run(tmp_path / "alone").notes == ("fused without paired data",)
    assert fuse(runs, tmp_path / "no", "--unpaired", "--data", toy_data) == EXIT_USAGE


def test_data_that_moved_between_two_trainings_are_found(
    runs: Runs, toy_data: Path, tmp_path: Path
) -> None:
    told(runs["audio"], path=str(tmp_path / "before"))
    out = tmp_path / "out"
    assert fuse(runs, out) == EXIT_OK
    assert (read_run(out).notes, read_run(out).data[0]["path"]) == ((), str(toy_data))


def test_other_data_in_the_same_place_are_not_taken(
    runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = write_data(tmp_path / "place", records(corpus="new"))
    for path in runs.values():
        told(path, path=str(place))
    assert fuse(runs, tmp_path / "out") == EXIT_FAILURE
    assert f"{place}: the data that all runs were trained on, holds other recordings by now" in (
        error_line(capfd.readouterr().err)
    )


@pytest.mark.parametrize("where", ["data", "./data/", "link"])
def test_the_same_place_in_two_states_is_not_fused_as_if_it_were_two(
    where: str,
    runs: Runs,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One training before `preprocess` completed the folder, one after it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_data, "data")
    Path("link").symlink_to("data")
    told(runs["audio"], path="data", digest="another")
    told(runs["video"], path=where)
    info = read_run(runs["video"])
    fewer = dataclasses.replace(info.train_footprint, recordings=frozenset())
    write_run(runs["video"], dataclasses.replace(info, train_footprint=fewer))
    assert fuse(runs, Path("out")) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "trained on the same recordings, in different files or states; name those to" in line
    assert "(--data data), or fuse them without paired data by --unpaired" in line


def test_tables_of_the_same_recordings_are_asked_for(
    runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each holds one stream, so they differ though the recordings are the same."""
    for stream, path in runs.items():
        told(path, path=f"{stream}.csv", digest=stream)
    assert fuse(runs, tmp_path / "out") == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "(--data audio=audio.csv --data video=video.csv), or fuse them without" in line


def test_a_part_knows_its_data_by_another_name(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished part is taken again, whether its data are named by a link or by the path."""
    (tmp_path / "link").symlink_to(toy_data)
    monkeypatch.chdir(tmp_path)
    few = models.settings("audio.epochs=1", "video.epochs=1")
    words = ("train", "--recipe", "two-stream-sum", "--out", "whole", *few)
    assert run(*words, "--data", toy_data) == EXIT_OK
    written = Path("whole-audio/best.keras").stat().st_mtime_ns
    assert run(*words, "--data", "link/", "--overwrite") == EXIT_OK
    assert Path("whole-audio/best.keras").stat().st_mtime_ns == written
