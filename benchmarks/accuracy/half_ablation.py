"""What each part of a recipe is worth: one change at a time, on halves of a training part.

One half trains, the other is scored; what the corpus is tested on is never opened.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.commands.options.engine_options import make_engine
from affectstream.core import atomic_io, progress, registry
from affectstream.core.errors import UserError
from affectstream.parallel import tasks
from affectstream.parallel.tasks import ReportStep, TaskLimits, WorkerDied
from affectstream.preprocessing.dataset.data_folder import DataFolder, Splits, open_data_folder
from benchmarks import report
from benchmarks.accuracy import scores
from benchmarks.robustness import training_runs

BASE = "as it is"
SEED = 0
# Of the half that trains, every so many-th example fits the temperature instead.
VALIDATION_EVERY = 20
HELD_OUT = "held-out"
COLUMNS = (
    "recipe",
    "parameters",
    "accuracy",
    "to the first",
    "95 %",
    "UAR",
    "ECE",
    "while training",
)

Predictions = list[dict[str, str]]


@dataclass(frozen=True)
class Variant:
    """One change.

    Attributes:
      settings: KEY=VALUE, after those of all.
      share_of_epochs: of those of all.
    """

    settings: tuple[str, ...] = ()
    share_of_epochs: float = 1.0


@dataclass(frozen=True)
class Study:
    """What is looked at.

    Attributes:
      settings: KEY=VALUE of all rows.
      data, epochs: where nothing else is said.
      splits: parts of the data folder that are dealt.
      title: of the section.
      name: of the benchmark and, with a hyphen, of the section.
      examples: "pictures of X's Training": what is dealt.
      closed: what is not read.
    """

    recipe: str
    labels: str
    settings: tuple[str, ...]
    data: Path
    epochs: int
    splits: tuple[str, ...]
    title: str
    name: str
    examples: str
    closed: str

    @property
    def section(self) -> str:
        return self.name.replace("_", "-")


@dataclass(frozen=True)
class RowTask:
    """One training with its scoring, as it travels to a process.

    Attributes:
      data: the prepared folder, not divided yet.
      splits: of the folder, which are dealt.
      recipe: by name.
      settings: KEY=VALUE, all that differ from the recipe.
    """

    name: str
    data: Path
    splits: tuple[str, ...]
    recipe: str
    settings: tuple[str, ...]
    run: Path


def halves(folder: DataFolder, splits: Sequence[str]) -> DataFolder:
    """The folder with some of its parts dealt anew, and nothing of the others.

    Every second example is scored, as they stand in `clips.csv`.
    """
    ids = [row.id for split in splits for row in folder.subset(split)]
    taking_part = set(ids)
    ids = [row.id for row in folder.rows if row.id in taking_part]
    training = ids[::2]
    parts = {
        "train": tuple(name for place, name in enumerate(training) if place % VALIDATION_EVERY),
        "validation": tuple(training[::VALIDATION_EVERY]),
        "test": tuple(ids[1::2]),
    }
    rule = {"kind": "halves of training", "every": VALIDATION_EVERY}
    return dataclasses.replace(folder, splits=Splits(parts, rule, folder.splits.notes))


def measure(study: Study, known: Mapping[str, Variant], words: list[str], about: str | None) -> int:
    """The command line of a study.

    Args:
      known: name in the table and of the folder -> what is changed; `BASE` comes first.
      about: what `--help` says.
    """
    parser = report.training_parser(about, f"runs/{study.section}", study.section)
    parser.add_argument("--data", type=Path, default=study.data, help="prepared data")
    parser.add_argument("--epochs", type=int, default=study.epochs, help="of each training")
    parser.add_argument("--variants", nargs="+", choices=list(known)[1:], help="[default: all]")
    parser.add_argument(
        "--workers", type=int, default=0, help="trainings at a time [default: one, in this process]"
    )
    chosen = parser.parse_args(words)
    names = [BASE, *(chosen.variants or list(known)[1:])]
    machine = report.machine()
    rows = [_task(study, chosen, name, known[name]) for name in names]
    with report.user_errors():
        folder = halves(open_data_folder(chosen.data), study.splits)
        with make_engine("local", None, chosen.workers).open(run_row, TaskLimits()) as pool:
            for row, _ in tasks.run(pool, rows, _give_up):
                progress.print_message(f"{row.name}: done")
    parts = [_note(study, chosen, folder), report.table(COLUMNS, _rows(rows))]
    report.publish(study.title, study.name, words, machine, parts, *report.destination(chosen))
    return 0


def _task(study: Study, chosen: Any, name: str, variant: Variant) -> RowTask:
    epochs = max(1, round(chosen.epochs * variant.share_of_epochs))
    settings = (f"labels={study.labels}", *study.settings, f"epochs={epochs}", *variant.settings)
    run = chosen.runs / name.replace(" ", "-")
    return RowTask(name, chosen.data, study.splits, study.recipe, settings, run)


def _give_up(task: RowTask, died: WorkerDied) -> RowTask:
    raise UserError(
        f"{task.run}: its training {died.reason}; the same command goes on, perhaps with fewer"
        " --workers"
    )


def run_row(task: RowTask, report_step: ReportStep) -> None:
    """Trains a row to its end and scores it on the other half, unless that is done."""
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    import keras

    from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate

    report_step(0)
    keras.backend.clear_session()  # models of earlier rows are let go
    folder = halves(open_data_folder(task.data), task.splits)
    recipe = registry.load("recipes", task.recipe).with_settings(list(task.settings))
    training_runs.train_stream_once(recipe, folder, task.run, SEED)
    if not (task.run / HELD_OUT / PREDICTIONS).is_file():
        evaluate(task.run, [folder], "test", task.run / HELD_OUT)


def accuracy_difference(rows: Predictions, base: Predictions) -> tuple[float, list[float]]:
    """How far one accuracy is above another of the same examples, with its 95 % interval.

    Of one the difference is -1, 0 or 1; the interval is 1.96 standard errors of their mean either
    way, which thousands of them allow.

    Raises:
      ValueError: other examples.
    """
    right = [{row["id"]: row["label"] == row["recognised"] for row in one} for one in (rows, base)]
    if right[0].keys() != right[1].keys():
        raise ValueError("the two rows are of other examples")
    found = np.array([int(right[0][name]) - int(right[1][name]) for name in right[0]])
    mean, error = float(found.mean()), float(found.std(ddof=1)) / len(found) ** 0.5
    return mean, [mean - 1.96 * error, mean + 1.96 * error]


def _rows(trained: Sequence[RowTask]) -> list[tuple[str, ...]]:
    from affectstream.modeling.evaluation.evaluate import METRICS, PREDICTIONS
    from affectstream.modeling.models.stream_model import NETWORK
    from affectstream.modeling.runs import checkpoints, run_folder

    told: list[tuple[str, ...]] = []
    base: Predictions = []
    for task in trained:
        predictions = scores.read_predictions(task.run / HELD_OUT / PREDICTIONS, SEED)
        base = base or predictions
        found = atomic_io.read_json(task.run / HELD_OUT / METRICS)
        network = checkpoints.load_model(task.run / run_folder.BEST).get_layer(NETWORK)
        compared = ("", "")
        if task.name != BASE:
            difference, ends = accuracy_difference(predictions, base)
            compared = (f"{difference:+.3f}", scores.interval(ends, "+"))
        with open(task.run / run_folder.HISTORY, newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        shares = (f"{share:.3f}" for share in (found["uar"], found["ece"], float(last["wa"])))
        told.append(
            (task.name, f"{network.count_params():,}", f"{found['wa']:.3f}", *compared, *shares)
        )
    return told


def _note(study: Study, chosen: Any, folder: DataFolder) -> str:
    count = {split: len(folder.subset(split)) for split in ("train", "validation", "test")}
    settings = " ".join(study.settings)
    return (
        f"`{study.recipe}`{f' with {settings}' if settings else ''}, {chosen.epochs} epochs,"
        f" {study.labels}, seed {SEED}: {count['train']:,} {study.examples} train,"
        f" {count['validation']:,} fit the temperature, {count['test']:,} others of them are"
        f" scored, by the last epoch. Nothing of {study.closed} is read. Of a difference, both are"
        " asked about the same examples; its interval knows nothing of other seeds and is not"
        " corrected for the number of rows. `while training`: accuracy on what trains in the last"
        " epoch, as it is changed for training."
    )
