"""Commands killed for good, and run again: real kills of a few, and single moments played through.

Many kills of every command are `python -m benchmarks.robustness.killed`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import EXIT_OK, UserError
from affectstream.modeling.training import training_steps
from affectstream.serving.inference.litert_model import require_new
from benchmarks.publisher import publisher
from benchmarks.robustness import killed, same_tree
from benchmarks.robustness.kill_jobs import jobs
from benchmarks.robustness.kill_trials import KillTrials
from tests.conftest import ROOT
from tests.support import models
from tests.support.tables import printed_rows

TFIDF = (
    "--recipe",
    "tfidf-text",
    "--set",
    "min_df=1",
    "--set",
    "epochs=3",
    "--set",
    "batch_size=7",
)


class Killed(BaseException):
    """Stands for the end of the process; nothing of ours catches it."""


# === Killed in earnest ===


@pytest.mark.parametrize("name", ["download", "preprocess"])
def test_a_command_killed_twice_ends_as_if_undisturbed(name: str, tmp_path: Path) -> None:
    with publisher() as mirror:
        arena = KillTrials(jobs(tmp_path, mirror)[name](), tmp_path / "trials")
        rng = np.random.default_rng(3)
        for number in (2, 4):  # at a change of files the program; then any time the group
            trial = arena.trial(rng, number)
            assert trial.defects == ()
            assert trial.is_equal


def test_the_benchmark_tells_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    assert killed.main(["--quick", "--work", str(tmp_path), "--out", str(out)]) == 0
    ((name, _, kills, *_, equal, defects),) = printed_rows(capsys, out)
    assert (name, kills, equal, defects) == ("download", "2", "2", "0")


# === The harness sees what is wrong ===


@pytest.fixture
def two_trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        atomic_io.write_checksummed_json(tmp_path / name / "a.json", {"seconds": len(name), "x": 1})
        atomic_io.write_csv(
            tmp_path / name / "a.csv", ("k", "seconds"), [{"k": 1, "seconds": name}]
        )
    return tmp_path / "one", tmp_path / "other"


def test_only_time_may_differ(two_trees: tuple[Path, Path]) -> None:
    one, other = two_trees
    assert same_tree.differences(one, other) == []
    atomic_io.write_checksummed_json(one / "a.json", {"seconds": 3, "x": 2})
    (one / "more.txt").touch()
    (other / "a.csv").unlink()
    assert same_tree.differences(one, other) == [
        "a.csv: too much",
        "more.txt: too much",
        "a.json: other content (x)",
    ]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "00000.tfrecord"])
def test_half_a_file_is_seen(name: str, toy_data: Path, two_trees: tuple[Path, Path]) -> None:
    folder, _ = two_trees
    shutil.copy(toy_data / "shards" / "00000.tfrecord", folder)
    file = folder / name
    assert same_tree.corruption_reason(file) == ""
    file.write_bytes(file.read_bytes()[:-3])
    assert same_tree.corruption_reason(file)


# === Single moments ===


@pytest.fixture(scope="module")
def words_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.records(3, streams=("text",))
    return models.write_data(tmp_path_factory.mktemp("words") / "data", made)


def train(data: Path, out: Path, *words: str) -> int:
    return models.run("train", *TFIDF, "--data", data, "--out", out, *words)


def test_a_training_killed_behind_its_last_checkpoint(
    words_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last epoch was saved, but neither table nor log knew of it yet."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    keras.backend.clear_session()
    assert train(words_data, whole) == EXIT_OK
    keras.backend.clear_session()
    write = training_steps.epoch_writer

    def dying(*given: object) -> Callable[[dict[str, object]], None]:
        write_row = write(*given)  # type: ignore[arg-type]

        def until_the_last(row: dict[str, object]) -> None:
            if row["epoch"] == 3:
                raise Killed
            write_row(row)

        return until_the_last

    with monkeypatch.context() as patch:
        patch.setattr(training_steps, "epoch_writer", dying)
        with pytest.raises(Killed):
            train(words_data, out)
    keras.backend.clear_session()  # layers are numbered through a process
    assert len(models.history(out)) == 2
    assert train(words_data, out, "--resume") == EXIT_OK
    told = same_tree.differences(out, whole)
    assert told == []


def test_a_training_killed_before_it_had_a_name(words_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / f"run{atomic_io.TEMPORARY_MARK}0123abcd.json").write_text("{")
    assert train(words_data, out) == EXIT_OK
    assert not same_tree.temporaries(out)


def test_an_overwriting_killed_while_it_removes(
    words_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert train(words_data, out) == EXIT_OK

    def dying(path: Path, **_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage_paths, "remove_tree", dying)
        with pytest.raises(Killed):
            train(words_data, out, "--overwrite")
    assert train(words_data, out, "--overwrite") == EXIT_OK


@pytest.mark.parametrize("left", ["plan.part-0123abcd.json", "crossval.part-0123abcd.json"])
def test_a_crossval_killed_before_it_had_a_plan(
    left: str, words_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affectstream.modeling.crossval import run

    out = tmp_path / "out"
    out.mkdir()
    (out / left).touch()
    monkeypatch.setattr(run, "is_done", lambda *_: (_ for _ in ()).throw(Killed))
    words = ("crossval", *TFIDF, "--data", words_data, "--folds", 3, "--seeds", 1, "--out", out)
    with pytest.raises(Killed):
        models.run(*words)
    assert [path.name for path in out.iterdir()] == ["plan.json"]


def test_a_litert_export_killed_between_its_two_files(tmp_path: Path) -> None:
    target = tmp_path / "model.tflite"
    config = tmp_path / "model.json"
    atomic_io.write_json(config, {"litert": {"sha256": "00"}})
    require_new(target)
    atomic_io.write_json(config, {"notes": "of somebody else"})
    with pytest.raises(UserError, match="exists already"):
        require_new(target)
    atomic_io.write_json(config, {"litert": {"sha256": "00"}})
    target.touch()
    with pytest.raises(UserError, match="exists already"):
        require_new(target)


# === Temporary files of libraries ===


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path


def test_temporaries_go_with_the_program(temporary: Path) -> None:
    with atomic_io.private_tempdir():
        (folder,) = temporary.iterdir()
        assert Path(tempfile.mkdtemp()).parent == folder
        assert os.environ["TMPDIR"] == str(folder)
    assert list(temporary.iterdir()) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(temporary)


def test_temporaries_of_a_killed_program_go_with_the_next(temporary: Path) -> None:
    code = """
import multiprocessing, os, signal, sys, tempfile
from affectstream.core import atomic_io
with atomic_io.private_tempdir():
    lock = multiprocessing.get_context("spawn").Lock()
    open(os.path.join(tempfile.mkdtemp(), "large"), "w").close()
    print(tempfile.gettempdir(), flush=True)
    sys.stdin.read(1)
    os.killpg(0, signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        with atomic_io.private_tempdir():
            assert folder.is_dir(), "in use"
        other.communicate("x")
    semaphores = f"sem.{folder.name}-*"
    assert folder.is_dir(), "of a killed program"
    assert list(Path("/dev/shm").glob(semaphores)), "of a killed program"
    with atomic_io.private_tempdir():
        assert not folder.exists()
        assert not list(Path("/dev/shm").glob(semaphores))
    assert list(temporary.iterdir()) == []


def test_an_upload_of_a_killed_server_goes_with_the_next_program(temporary: Path) -> None:
    """As docs/serving.md says: until then it lies there."""
    code = """
import os, signal
from affectstream.core import atomic_io
from affectstream.server.analysis.uploads import Upload
with atomic_io.private_tempdir(), Upload("application/octet-stream", 100) as upload:
    upload.feed(b"somebody's voice")
    upload.finish()
    print(upload.path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    path = Path(ended.stdout.strip())
    assert path.read_bytes() == b"somebody's voice"
    with atomic_io.private_tempdir():
        assert not path.exists()
