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
    """Trains and predicts all unfinished folds, and writes all out-of-fold predictions.

    A finished fold and seed is skipped; an interrupted training is resumed.

    Args:
      work: trains and predicts one fold with one seed, up to its `done.json`; None follows the
        recipe.
      engine: runs the fold tasks; any engine but `SerialEngine` runs several at a time.
    Returns:
      the rows of `predictions.csv`: each clip once per seed.
    Raises:
      UserError: the folder holds a crossval with other settings, or other files; or a training
        process died twice.
    """
    prepare_crossval_folder(crossval)
    pairs = [(fold, seed) for seed in range(crossval.num_seeds) for fold in crossval.folds]
    todo = []
    for number, (fold, seed) in enumerate(pairs, start=1):
        label = (
            f"{crossval.leakage} {crossval.fold_run(fold, seed).name} ({number} of {len(pairs)})"
        )
        if is_done(crossval, fold, seed):
            progress.print_message(f"{label.strip()}: done before")
        else:
            todo.append(
                FoldTask(crossval, fold, seed, work, label.strip(), engine != SerialEngine())
            )
    _do(todo, engine)
    rows = [row for fold, seed in pairs for row in _predictions_of(crossval, fold, seed)]
    columns = (*PREDICTION_COLUMNS, *crossval.labels.labels)
    atomic_io.write_csv(crossval.out / PREDICTIONS, columns, rows)
    return rows


def prepare_crossval_folder(crossval: Crossval) -> None:
    """Prepares the output folder; calling it twice is harmless.

    Raises:
      UserError: it holds other files, or the reused crossvals do not match.
    """
    out, plan = crossval.out, crossval.plan
    _require_reusable_streams(crossval)
    _require_reusable_ensemble(crossval)
    atomic_io.remove_stale_temporaries(out)
    if not (out / PLAN).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"{out}: not empty and not of crossval; choose another --out")
        atomic_io.write_checksummed_json(out / PLAN, plan)
    try:
        stored_plan = atomic_io.read_checksummed_json(out / PLAN)
    except UserError:  # the `done.json` of each fold run also identifies its settings
        progress.print_message(f"{out / PLAN}: damaged, not what was written; written again")
        atomic_io.write_checksummed_json(out / PLAN, plan)
        stored_plan = plan
    if differing := _differing(stored_plan, plan, {**plan, "leakage": "", "extra_train_data": []}):
        raise UserError(
            f"{out}: holds a crossval with another {' and '.join(differing)}; choose another --out"
            " or repeat its settings"
        )


def _differing(there: dict[str, Any], here: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Keys in which two plans differ; compared by digest, because JSON stores tuples as lists."""
    return [k for k in keys if atomic_io.digest(there.get(k)) != atomic_io.digest(here.get(k))]


def _require_reusable_streams(crossval: Crossval) -> None:
    """Requires that the reused crossval trained the same streams on the same folds."""
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


def _require_reusable_ensemble(crossval: Crossval) -> None:
    """Requires that the reused crossval trained each network of the ensembles on the same folds."""
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


def _require_plan(option: str, other: Path, plan: dict[str, Any], keys: Iterable[str]) -> None:
    """Requires that `other` is a crossval with equal `keys`; `option` names it in messages."""
    if not (other / PLAN).is_file():
        raise UserError(f"{option}: no crossval folder (no {PLAN})")
    theirs = atomic_io.read_checksummed_json(other / PLAN, "run that crossval again")
    if differing := _differing(theirs, plan, keys):
        raise UserError(f"{option}: a crossval with another {' and '.join(differing)}")


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
    """The predictions of a finished fold and seed, with the corpus metadata of each clip."""
    return _with_facts(crossval, fold, seed, crossval.fold_run(fold, seed) / PREDICTIONS)


def predictions_of_streams(crossval: Crossval, kind: str) -> dict[str, list[dict[str, str]]]:
    """All predictions of each stream of a fusion.

    Args:
      kind: `STREAM_ALONE` for the stream's own model, or `FUSION_OF_ONE_STREAM` for the fusion
        given only that stream.
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
    rows_by_id = {row.id: row for row in crossval.rows}
    with path.open(newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    return [
        {
            **row,
            "fold": str(fold.number),
            "seed": str(seed),
            "sex": rows_by_id[row["id"]].attributes.get("sex", ""),
            "intensity": rows_by_id[row["id"]].attributes.get("intensity", ""),
        }
        for row in predictions
    ]
