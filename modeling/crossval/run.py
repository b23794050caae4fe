"""`crossval`: trains and tests a recipe over speaker-disjoint folds with several seeds."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, progress
from affectstream.core.errors import UserError
from affectstream.modeling.crossval.config import Crossval
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.crossval.task import (
    PREDICTIONS,
    FoldTask,
    FoldWork,
    is_done,
    run_fold_task,
)
from affectstream.modeling.runs import run_folder
from affectstream.modeling.runs.run_folder import is_run
from affectstream.parallel import tasks
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine, TaskLimits

PLAN = "plan.json"
# Columns of `predictions.csv` before the probability of each class.
PREDICTION_COLUMNS = ("id", "fold", "seed", "speaker", "sex", "intensity", "label", "predicted")


def run_crossval(
    crossval: Crossval,
    work: FoldWork | None = None,
    engine: Engine = SerialEngine(),  # noqa: B008  (frozen)
) -> list[dict[str, str]]:
    """Trains and predicts what is not done yet, and writes all out-of-fold predictions.

    A finished fold and seed is skipped; an interrupted training is resumed.

    Args:
      work: trains and predicts a pair, to its `done.json`; None as the recipe says.
      engine: where pairs are trained; on any but `SerialEngine` several at a time.
    Returns:
      the rows of `predictions.csv`: each clip once a seed.
    Raises:
      UserError: the folder holds a crossval of other settings, or something else; or a process
        that trains ends twice.
    """
    prepare_crossval_folder(crossval)
    pairs = [(fold, seed) for seed in range(crossval.num_seeds) for fold in crossval.folds]
    todo = []
    for number, (fold, seed) in enumerate(pairs, start=1):
        told = f"{crossval.leakage} {crossval.fold_run(fold, seed).name} ({number} of {len(pairs)})"
        if is_done(crossval, fold, seed):
            progress.print_message(f"{told.strip()}: done before")
        else:
            todo.append(
                FoldTask(crossval, fold, seed, work, told.strip(), engine != SerialEngine())
            )
    _do(todo, engine)
    rows = [row for fold, seed in pairs for row in _predictions_of(crossval, fold, seed)]
    columns = (*PREDICTION_COLUMNS, *crossval.labels.labels)
    atomic_io.write_csv(crossval.out / PREDICTIONS, columns, rows)
    return rows


def prepare_crossval_folder(crossval: Crossval) -> None:
    """Prepares the output folder; calling it twice is harmless.

    Raises:
      UserError: it holds something else, or other crossvals that are used do not fit.
    """
    out, plan = crossval.out, crossval.plan
    _require_parts_from(crossval)
    _require_members_from(crossval)
    atomic_io.remove_stale_temporaries(out)
    if not (out / PLAN).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"{out}: not empty and not of crossval; choose another --out")
        atomic_io.write_checksummed_json(out / PLAN, plan)
    try:
        there = atomic_io.read_checksummed_json(out / PLAN)
    except UserError:  # each pair tells by itself what it belongs to
        progress.print_message(f"{out / PLAN}: damaged, not what was written; written again")
        atomic_io.write_checksummed_json(out / PLAN, plan)
        there = plan
    if differing := _differing(there, plan, {**plan, "leakage": "", "extra_train_data": []}):
        raise UserError(
            f"{out}: holds a crossval with another {' and '.join(differing)}; choose another --out"
            " or repeat its settings"
        )


def _differing(there: dict[str, Any], here: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Keys of two plans that disagree; by digests, for JSON holds tuples as lists."""
    return [k for k in keys if atomic_io.digest(there.get(k)) != atomic_io.digest(here.get(k))]


def _require_parts_from(crossval: Crossval) -> None:
    """The other crossval trained the same streams on the same folds, to the end."""
    other = crossval.reuse_streams
    if other is None:
        return
    keys = ("stream_recipes", "labels", "data", "folds", "leakage", "extra_train_data")
    _require_plan(f"--reuse-streams {other}", other, crossval.plan, keys)
    _require_finished(
        (
            crossval.stream_run(fold, seed, stream)
            for seed in range(crossval.num_seeds)
            for fold in crossval.folds
            for stream in crossval.streams
        ),
        "finish that crossval first",
    )


def _require_members_from(crossval: Crossval) -> None:
    """The other crossval trained each network that is averaged, on the same folds, to the end."""
    other = crossval.reuse_ensemble
    if other is None:
        return
    single = dataclasses.replace(
        crossval,
        recipe=crossval.recipe.single_network,
        stream_recipes=tuple(part.single_network for part in crossval.stream_recipes),
    )
    kind = "stream_recipes" if crossval.stream_recipes else "recipe"
    keys = (kind, "labels", "data", "folds", "leakage", "extra_train_data")
    _require_plan(f"--reuse-ensemble {other}", other, single.plan, keys)
    streams = crossval.streams if crossval.stream_recipes else ("",)
    _require_finished(
        (
            run
            for seed in range(crossval.num_seeds)
            for fold in crossval.folds
            for stream in streams
            for run in crossval.ensemble_runs(fold, seed, stream)
            or (crossval.stream_run(fold, seed, stream),)
        ),
        "finish that crossval with as many seeds, or take fewer --seeds or members here",
    )


def _require_plan(told: str, other: Path, plan: dict[str, Any], keys: Iterable[str]) -> None:
    """`other` is a crossval that agrees in `keys`; `told` is how it was named."""
    if not (other / PLAN).is_file():
        raise UserError(f"{told}: no crossval folder (no {PLAN})")
    theirs = atomic_io.read_checksummed_json(other / PLAN, "run that crossval again")
    if differing := _differing(theirs, plan, keys):
        raise UserError(f"{told}: a crossval with another {' and '.join(differing)}")


def _require_finished(runs: Iterable[Path], remedy: str) -> None:
    for run in runs:
        if not is_run(run) or not run_folder.read_run(run).finished:
            raise UserError(f"{run}: not trained to its end; {remedy}")


def _do(todo: Sequence[FoldTask], engine: Engine) -> None:
    if not todo:
        return
    with engine.open(run_fold_task, TaskLimits()) as pool:
        trained: Iterator[FoldTask] = (
            task for task, _ in tasks.run(pool, todo, FoldTask.next_attempt)
        )
        if todo[0].is_parallel:
            trained = progress.track(trained, len(todo), "crossval", "training")
        for task in trained:
            progress.print_message(f"{task.label}: done")


def _predictions_of(crossval: Crossval, fold: Fold, seed: int) -> list[dict[str, str]]:
    """The predictions of a finished pair, with what the corpus tells of each clip."""
    return _with_facts(crossval, fold, seed, crossval.fold_run(fold, seed) / PREDICTIONS)


def predictions_of_streams(crossval: Crossval, kind: str) -> dict[str, list[dict[str, str]]]:
    """By stream of a fusion all predictions from that stream.

    Args:
      kind: `STREAM_ALONE`, of the stream's own model, or `FUSION_OF_ONE_STREAM`, of the fusion
        given nothing else.
    """
    streams = crossval.streams if crossval.stream_recipes else ()
    return {
        stream: [
            row
            for seed in range(crossval.num_seeds)
            for fold in crossval.folds
            for row in _with_facts(
                crossval, fold, seed, crossval.fold_run(fold, seed) / kind / stream / PREDICTIONS
            )
        ]
        for stream in streams
    }


def _with_facts(crossval: Crossval, fold: Fold, seed: int, path: Path) -> list[dict[str, str]]:
    known = {row.id: row for row in crossval.rows}
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    return [
        {
            **row,
            "fold": str(fold.number),
            "seed": str(seed),
            "sex": known[row["id"]].attributes.get("sex", ""),
            "intensity": known[row["id"]].attributes.get("intensity", ""),
        }
        for row in read
    ]
