"""Crossval with several trainings at a time: the same as one by one, whatever dies."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.crossval import run as crossval_run
from affectstream.modeling.crossval import task as crossval_task
from affectstream.modeling.crossval.config import Crossval, plan_crossval
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.crossval.run import PREDICTION_COLUMNS, run_crossval
from affectstream.modeling.crossval.task import FoldTask
from affectstream.parallel.process_pool import ProcessPoolEngine
from affectstream.parallel.ray_cluster import RayCluster
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine, WorkerDied
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from tests.support import models

SETTINGS = ("min_df=1", "learning_rate=0.05", "epochs=3", "batch_size=7")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.records(6, streams=("text",))
    return models.write_data(tmp_path_factory.mktemp("data") / "data", made)


def planned(data: Path, out: Path) -> Crossval:
    recipe = registry.load("recipes", "tfidf-text").with_settings(SETTINGS)
    return plan_crossval(recipe, [], open_data_folder(data), "3", 1, out)


def dies_once(crossval: Crossval, fold: Fold, seed: int) -> None:
    """Trains in earnest, but ends its process first where it was never before."""
    mark = crossval.out.with_name(f"{crossval.out.name}-{fold.number}-was-here")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    crossval_task.train_and_predict(crossval, fold, seed)


def table(path: Path) -> list[dict[str, str]]:
    with open(path / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_equal(one: Path, other: Path) -> None:
    """Processes may add floats up in another order."""
    first, second = table(one), table(other)
    facts = [[{k: row[k] for k in PREDICTION_COLUMNS} for row in rows] for rows in (first, second)]
    assert facts[0] == facts[1] and len(first) == 42
    chances = [
        np.array([[float(row[k]) for k in models.LABELS] for row in rows])
        for rows in (first, second)
    ]
    np.testing.assert_allclose(chances[0], chances[1], atol=2e-6)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    run_crossval(planned(data, out), engine=SerialEngine())
    return out


def test_two_at_a_time_and_each_dies_once(
    data: Path, alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run_crossval(planned(data, out), dies_once, ProcessPoolEngine(2))
    assert_equal(alone, out)
    said = capfd.readouterr().err
    assert {f"fold-{n}-seed-0 ({n} of 3): done" for n in (1, 2, 3)} <= set(said.splitlines())
    assert "epoch" not in said  # of the trainings nothing is shown
    run_crossval(planned(data, out), dies_once, ProcessPoolEngine(2))
    assert capfd.readouterr().err.count("done before") == 3


def test_what_dies_again_and_again_stops_it(data: Path, tmp_path: Path) -> None:
    run = planned(data, tmp_path / "out")
    task = FoldTask(run, run.folds[0], 0, None, "", True)
    died = WorkerDied(0, "ended its process by SIGKILL")
    reason = "fold-1-seed-0: its training ended its process by SIGKILL, 2 times; take fewer"
    with pytest.raises(UserError, match=reason):
        task.next_attempt(died).next_attempt(died)


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ((), SerialEngine()),
        (("--workers", 3), ProcessPoolEngine(3)),
        (("--engine", "ray"), RayCluster()),
    ],
)
def test_the_command_names_the_engine(
    words: tuple[object, ...],
    engine: Engine,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class EnoughError(Exception):
        """The engine is known; nothing needs to be trained."""

    def stop(crossval: Crossval, engine: Engine) -> None:
        asked.append(engine)
        raise EnoughError

    asked: list[Engine] = []
    monkeypatch.setattr(crossval_run, "run_crossval", stop)
    given = ("--recipe", "tfidf-text", "--data", data, "--folds", 3, "--out", tmp_path / "out")
    with pytest.raises(EnoughError):
        models.run("crossval", *given, *words)
    assert asked == [engine]
