"""What each part of the face recipe is worth: one change at a time, on FER2013's Training part.

One half trains, the other is scored; PublicTest and PrivateTest are never opened. Trains what is
not trained yet: ten minutes a row with the default epochs and one core each. Stopped, it
goes on. Writes a section of docs/results.md.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import progress
import registry
import storage
from benchmarks import report, scores, training_runs
from commands.engine_options import engine_of
from engines import tasks
from engines.tasks import Died, Limits, Tell
from errors import UserError
from preprocessing.data_folder import DataFolder, Splits, open_data_folder

RECIPE, LABELS = "resnet-face", "basic7"
BASE = "as it is"
SECTION = "face-ablation"
SEED = 0
# Of the half that trains, every so many-th picture fits the temperature instead.
EVERY = 20
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
class RowTask:
    """One training with its scoring, as it travels to a process.

    Attributes:
      data: the prepared folder, not divided yet.
      settings: KEY=VALUE, all that differ from the recipe.
    """

    name: str
    data: Path
    settings: tuple[str, ...]
    run: Path


def variants() -> dict[str, Variant]:
    """Name in the table and of the folder -> what is changed."""
    own = registry.load("recipes", RECIPE).transforms.split(",")

    def without(name: str) -> Variant:
        kept = [one for one in own if one.partition(":")[0] != name]
        return Variant((f"transforms={','.join(kept)}",))

    return {
        BASE: Variant(),
        "without mixup": without("mixup"),
        "without cutout": without("cutout"),
        "without jitter of the crop": without("crop_jitter"),
        "without mirror images": Variant((*without("flip").settings, "mirrored=false")),
        "half the dropout": Variant(("dropout=0.2",)),
        "without label smoothing": Variant(("label_smoothing=0",)),
        "without averaged weights": Variant(("weight_averaging=0",)),
        "1.5 times as wide": Variant(("width=48",)),
        "half as wide": Variant(("width=16",)),
        "batches of 32": Variant(("batch_size=32",)),
        "classes weighed": Variant(("class_weights=true",)),
        "half the epochs": Variant(share_of_epochs=0.5),
        "twice the epochs": Variant(share_of_epochs=2.0),
    }


def halves(folder: DataFolder) -> DataFolder:
    """The folder with its training and validation parts dealt anew, and nothing of its test part.

    Every second picture is scored, as they stand in `clips.csv`, which is class by class.
    """
    ids = [row.id for split in ("train", "validation") for row in folder.part(split)]
    taking_part = set(ids)
    ids = [row.id for row in folder.rows if row.id in taking_part]
    training = ids[::2]
    parts = {
        "train": tuple(name for place, name in enumerate(training) if place % EVERY),
        "validation": tuple(training[::EVERY]),
        "test": tuple(ids[1::2]),
    }
    rule = {"kind": "halves of training", "every": EVERY}
    return dataclasses.replace(folder, splits=Splits(parts, rule, folder.splits.notes))


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.training_parser(__doc__, "runs/face-ablation", SECTION)
    known = variants()
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"), help="prepared FER2013")
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--variants", nargs="+", choices=list(known)[1:], help="[default: all]")
    parser.add_argument(
        "--workers", type=int, default=0, help="trainings at a time [default: one, in this process]"
    )
    chosen = parser.parse_args(words)
    names = [BASE, *(chosen.variants or list(known)[1:])]
    machine = report.machine()
    rows = [_task(chosen, name, known[name]) for name in names]
    with report.user_errors():
        folder = halves(open_data_folder(chosen.data))
        with engine_of("local", None, chosen.workers).open(do_row, Limits()) as pool:
            for row, _ in tasks.run(pool, rows, _give_up):
                progress.say(f"{row.name}: done")
    parts = [_note(chosen, folder), report.table(COLUMNS, _rows(rows))]
    where = report.destination(chosen)
    report.publish("Ablation of the face recipe", "face_ablation", words, machine, parts, *where)
    return 0


def _task(chosen: Any, name: str, variant: Variant) -> RowTask:
    epochs = max(1, round(chosen.epochs * variant.share_of_epochs))
    settings = (f"labels={LABELS}", f"epochs={epochs}", *variant.settings)
    return RowTask(name, chosen.data, settings, chosen.runs / name.replace(" ", "-"))


def _give_up(task: RowTask, died: Died) -> RowTask:
    raise UserError(
        f"{task.run}: its training {died.reason}; the same command goes on, perhaps with fewer"
        " --workers"
    )


def do_row(task: RowTask, tell: Tell) -> None:
    """Trains a row to its end and scores it on the other half, unless that is done."""
    import quiet

    quiet.import_tensorflow()
    import keras

    from modeling.evaluation import PREDICTIONS, evaluate

    tell(0)
    keras.backend.clear_session()  # models of earlier rows are let go
    folder = halves(open_data_folder(task.data))
    recipe = registry.load("recipes", RECIPE).with_settings(list(task.settings))
    training_runs.trained(recipe, folder, task.run, SEED)
    if not (task.run / HELD_OUT / PREDICTIONS).is_file():
        evaluate(task.run, [folder], "test", task.run / HELD_OUT)


def accuracy_difference(rows: Predictions, base: Predictions) -> tuple[float, list[float]]:
    """How far one accuracy is above another of the same pictures, with its 95 % interval.

    Of a picture the difference is -1, 0 or 1; the interval is 1.96 standard errors of their mean
    either way, which thousands of pictures allow.

    Raises:
      ValueError: other pictures.
    """
    right = [{row["id"]: row["label"] == row["recognised"] for row in one} for one in (rows, base)]
    if right[0].keys() != right[1].keys():
        raise ValueError("the two rows are of other pictures")
    found = np.array([int(right[0][name]) - int(right[1][name]) for name in right[0]])
    mean, error = float(found.mean()), float(found.std(ddof=1)) / len(found) ** 0.5
    return mean, [mean - 1.96 * error, mean + 1.96 * error]


def _rows(trained: Sequence[RowTask]) -> list[tuple[str, ...]]:
    from modeling import checkpoints, run_folder
    from modeling.evaluation import METRICS, PREDICTIONS
    from modeling.stream_model import NETWORK

    told: list[tuple[str, ...]] = []
    base: Predictions = []
    for task in trained:
        predictions = scores.read_predictions(task.run / HELD_OUT / PREDICTIONS, SEED)
        base = base or predictions
        found = storage.read_json(task.run / HELD_OUT / METRICS)
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


def _note(chosen: Any, folder: DataFolder) -> str:
    count = {split: len(folder.part(split)) for split in ("train", "validation", "test")}
    return (
        f"`{RECIPE}` with {chosen.epochs} epochs in place of its own, {LABELS}, seed {SEED}:"
        f" {count['train']:,} pictures of FER2013's Training train, {count['validation']:,} fit the"
        f" temperature, {count['test']:,} others of Training are scored, by the last epoch."
        " Nothing of PublicTest or PrivateTest is read. Of a difference, both are asked about the"
        " same pictures; its interval knows nothing of other seeds and is not corrected for the"
        " number of rows. `while training`: accuracy on what trains in the last epoch, as it is"
        " distorted and mixed for training."
    )


if __name__ == "__main__":
    raise SystemExit(main())
