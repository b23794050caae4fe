"""The task of one fold with one seed: train, predict and mark as done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from affectstream.core import atomic_io, progress
from affectstream.core.errors import UserError
from affectstream.modeling.crossval.config import Crossval, data_for_fold, training_folders
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.evaluation import evaluate
from affectstream.modeling.recipes.recipe import FusionRecipe, StreamRecipe
from affectstream.modeling.runs import run_folder
from affectstream.modeling.runs.run_folder import is_run
from affectstream.modeling.training.train_fusion import train_fusion
from affectstream.modeling.training.train_stream import train_stream
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.parallel.tasks import MAX_DEATHS, ReportStep, WorkerDied
from affectstream.preprocessing.dataset.data_folder import DataFolder

DONE = "done.json"
PREDICTIONS = "predictions.csv"
# Subfolders of a fusion's fold run, one per stream.
STREAM_ALONE, FUSION_OF_ONE_STREAM = "alone", "only"
# Trains and predicts a fold with a seed.
FoldWork = Callable[[Crossval, Fold, int], None]


@dataclass(frozen=True)
class FoldTask:
    """The work on one fold with one seed; it can be sent to a process on any machine.

    Attributes:
      work: see `run_crossval`.
      label: name of the fold and seed in messages.
      is_parallel: other tasks run at the same time; overall progress is shown elsewhere.
      num_worker_deaths: how often its worker process died.
    """

    crossval: Crossval
    fold: Fold
    seed: int
    work: FoldWork | None
    label: str
    is_parallel: bool
    num_worker_deaths: int = 0

    def next_attempt(self, died: WorkerDied) -> FoldTask:
        """The same task for another attempt, which resumes after its last finished epoch.

        Raises:
          UserError: its worker process died too often.
        """
        if self.num_worker_deaths + 1 >= MAX_DEATHS:
            raise UserError(
                f"{self.crossval.fold_run(self.fold, self.seed)}: its training {died.reason},"
                f" {MAX_DEATHS} times; take fewer --workers, or a smaller --batch-size"
            )
        return dataclasses.replace(self, num_worker_deaths=self.num_worker_deaths + 1)


def run_fold_task(task: FoldTask, report_step: ReportStep) -> None:
    """Trains and predicts one fold with one seed."""
    if task.is_parallel:
        progress.disable()
    report_step(0)
    progress.print_message(f"{task.label}: test {', '.join(task.fold.test) or 'clips at random'}")
    (task.work or train_and_predict)(task.crossval, task.fold, task.seed)


def _mark(crossval: Crossval, fold: Fold, seed: int) -> dict[str, Any]:
    """Identity of a finished fold run; `done.json` adds the digest of the predictions to it."""
    data = data_for_fold(crossval, fold)
    recipes = [recipe.as_json() for recipe in (crossval.recipe, *crossval.stream_recipes)]
    folders = [data, *crossval.extra_train_data]
    content = (
        [folder.content() for folder in folders] if crossval.extra_train_data else data.content()
    )
    return {
        "data": atomic_io.digest(content),
        "recipe": atomic_io.digest(recipes),
        "split": atomic_io.digest(data.splits.parts),
        "seed": seed,
    }


def is_done(crossval: Crossval, fold: Fold, seed: int) -> bool:
    """Whether a fold and seed was trained and predicted with these data and settings."""
    path = crossval.fold_run(fold, seed)
    if not (path / DONE).is_file() or not (path / PREDICTIONS).is_file():
        return False
    wanted = _mark(crossval, fold, seed)
    try:
        done = atomic_io.read_checksummed_json(path / DONE)
    except UserError:
        progress.print_message(f"{path / DONE}: damaged, not what was written; predicted again")
        return False
    if done == {**wanted, "predictions": atomic_io.file_sha256(path / PREDICTIONS)}:
        return True
    if {**done, "predictions": ""} == {**wanted, "predictions": ""}:
        progress.print_message(
            f"{path / PREDICTIONS}: damaged, not what was written; predicted again"
        )
    return False


def mark_done(crossval: Crossval, fold: Fold, seed: int) -> None:
    """Writes `done.json` after the predictions were written."""
    path = crossval.fold_run(fold, seed)
    held = atomic_io.file_sha256(path / PREDICTIONS)
    atomic_io.write_checksummed_json(
        path / DONE, {**_mark(crossval, fold, seed), "predictions": held}
    )


def train_and_predict(crossval: Crossval, fold: Fold, seed: int) -> None:
    """Trains and tests the models of one fold and seed, and writes its `done.json`."""
    path, data = crossval.fold_run(fold, seed), data_for_fold(crossval, fold)
    recipe, is_leaky = crossval.recipe, bool(crossval.leakage)
    keras.backend.clear_session()  # frees the models of earlier folds
    if isinstance(recipe, FusionRecipe):
        runs = {s: crossval.stream_run(fold, seed, s) for s in crossval.streams}
        for part in crossval.stream_recipes:
            if runs[part.stream].parent == crossval.out:  # else another crossval trained it
                options = train_options_for(crossval, fold, seed, part.stream)
                _train_stream(part, training_folders(crossval, fold, part.stream), options)
        train_fusion(recipe, runs, [data], train_options_for(crossval, fold, seed))
        for stream, run in runs.items():
            evaluate.evaluate(run, [data], "test", path / STREAM_ALONE / stream, is_leaky)
            evaluate.evaluate(
                path, [data], "test", path / FUSION_OF_ONE_STREAM / stream, is_leaky, stream
            )
    else:
        folders = training_folders(crossval, fold, recipe.stream)
        _train_stream(recipe, folders, train_options_for(crossval, fold, seed))
    evaluate.evaluate(path, [data], "test", path, is_leaky)
    mark_done(crossval, fold, seed)


def _train_stream(
    recipe: StreamRecipe, folders: Sequence[DataFolder], options: TrainOptions
) -> None:
    """Trains a stream unless it is finished."""
    is_begun = options.resume and not options.overwrite
    if not is_begun or not run_folder.read_run(options.out).finished:
        train_stream(recipe, folders, options)


def train_options_for(crossval: Crossval, fold: Fold, seed: int, stream: str = "") -> TrainOptions:
    """Training options of a fold and seed, or of one stream of a fusion.

    A damaged run is trained again from the start. Scripted text is an error only for a text model.
    """
    path = crossval.stream_run(fold, seed, stream) if stream else crossval.fold_run(fold, seed)
    # A combined model is always rebuilt from its networks; each of them resumes by itself.
    is_ensemble = crossval.recipe_of(stream).is_ensemble
    damage = run_folder.find_damage(path, () if is_ensemble else (run_folder.LAST, run_folder.BEST))
    if damage:
        progress.print_message(f"{damage}; trained anew")
    return TrainOptions(
        path,
        seed,
        resume=is_run(path) and not damage,
        ensemble_runs=crossval.ensemble_runs(fold, seed, stream),
        overwrite=bool(damage),
        allow_leak=bool(crossval.leakage),
        allow_scripted_text=bool(stream),
        prints_summary=False,
    )
