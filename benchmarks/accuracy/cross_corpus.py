"""Does it generalise? Sound trained on one corpus and tested on another one, each way.

Trains what is not trained yet (a quarter of an hour on two cores), tests every usable clip of the
other corpus, adds ComParE with logistic regression, and writes the section `cross-corpus` of
docs/results.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from affectstream.core import registry
from affectstream.preprocessing.dataset.data_folder import DataFolder, Splits, open_data_folder
from affectstream.preprocessing.dataset.splits import (
    DEFAULT_RULE,
    NOT_DISJOINT,
    make_splits,
    speakers_of,
)
from benchmarks import report
from benchmarks.accuracy import scores
from benchmarks.accuracy.classical import compare_functionals, fit_logistic_regression
from benchmarks.robustness import training_runs

RECIPE, LABELS = "resnet-asp-audio", "basic7"
# Speakers who only calibrate; of a corpus of fewer than so many more, a tenth of the clips does.
NUM_VALIDATION_SPEAKERS = 2
MIN_TRAINING = 3
VALIDATION_EVERY = 10
STRENGTH = 1e-3
COLUMNS = ("trained on", "tested on", "clips", "speakers", *scores.COLUMNS)

Rows = list[tuple[str, ...]]


def train_on_whole_corpus(folder: DataFolder) -> DataFolder:
    """The whole corpus trains but for what the temperature is fitted on; nobody tests."""
    speakers = speakers_of(folder.rows)
    if len(speakers) >= NUM_VALIDATION_SPEAKERS + MIN_TRAINING:
        held = speakers[-NUM_VALIDATION_SPEAKERS:]
        rule = {"kind": "speakers", "test": [], "validation": held}
        return dataclasses.replace(folder, splits=make_splits(folder.rows, rule))
    ids = [row.id for row in folder.subset("all")]
    parts = {
        "train": tuple(name for place, name in enumerate(ids) if place % VALIDATION_EVERY),
        "validation": tuple(ids[::VALIDATION_EVERY]),
        "test": (),
    }
    splits = Splits(parts, {"kind": "every", "n": VALIDATION_EVERY}, (NOT_DISJOINT,))
    return dataclasses.replace(folder, splits=splits)


def train_on_corpus(folder: DataFolder, run: Path, seed: int, settings: Sequence[str]) -> Path:
    """The recipe on a whole corpus, trained to its end; goes on where it was stopped."""
    recipe = registry.load("recipes", RECIPE).with_settings([f"labels={LABELS}", *settings])
    return training_runs.train_stream_once(recipe, train_on_whole_corpus(folder), run, seed)


def predict_corpus(run: Path, folder: DataFolder, out: Path, seed: int) -> list[dict[str, str]]:
    """Predictions of every usable clip, as a crossval writes them."""
    from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate

    whole = dataclasses.replace(folder, splits=make_splits(folder.rows, DEFAULT_RULE))
    evaluate(run, [whole], "all", out)
    return scores.read_predictions(out / PREDICTIONS, seed)


def classical(one: DataFolder, other: DataFolder, kept: Path) -> list[dict[str, str]]:
    """ComParE with logistic regression, fitted on `one`, predicting `other`."""
    labels = registry.load("label-sets", LABELS)
    rows, values, truth = {}, {}, {}
    for name, folder in (("one", one), ("other", other)):
        rows[name] = [row for row in folder.subset("all") if labels.index(row.label) is not None]
        file = kept / f"compare-{folder.settings['corpus']}.npz"
        values[name] = compare_functionals(folder, rows[name], file)
        truth[name] = np.array([labels.index(row.label) for row in rows[name]])
    model = fit_logistic_regression(values["one"], truth["one"], STRENGTH)
    return scores.as_predictions(rows["other"], model.predict_proba(values["other"]), labels)


def row(names: tuple[str, str], predictions: list[dict[str, str]]) -> tuple[str, ...]:
    """One row of the table."""
    from affectstream.modeling.crossval.scores import pooled_scores

    found = pooled_scores(predictions, registry.load("label-sets", LABELS).labels)
    return (
        *names,
        str(found["num_clips"]),
        str(found["num_speakers"] or "unknown"),
        *scores.cells(found),
    )


def one_way(one: DataFolder, other: DataFolder, chosen: argparse.Namespace) -> Rows:
    """Both rows of one direction: the network and the regression."""
    names = tuple(folder.settings["corpus"] for folder in (one, other))
    found: list[dict[str, str]] = []
    for seed in range(chosen.seeds):
        run = chosen.runs / f"{names[0]}-seed-{seed}"
        train_on_corpus(one, run, seed, chosen.settings)
        found += predict_corpus(run, other, run / f"on-{names[1]}", seed)
    told = f"{names[0]}: ComParE 2016 + logistic regression"
    return [
        row((f"{names[0]}: `{RECIPE}`", names[1]), found),
        row((told, names[1]), classical(one, other, chosen.runs)),
    ]


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.training_parser(__doc__, "runs/cross-corpus", "cross-corpus")
    parser.add_argument("--data", type=Path, nargs=2, required=True, help="two data folders")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    machine = report.machine()
    with report.user_errors():
        one, other = (open_data_folder(path) for path in chosen.data)
        rows = one_way(one, other, chosen) + one_way(other, one, chosen)
    parts = [_note((one, other), chosen.seeds), report.table(COLUMNS, rows)]
    report.publish(
        "Across corpora", "cross_corpus", words, machine, parts, *report.destination(chosen)
    )
    return 0


def _note(folders: Sequence[DataFolder], seeds: int) -> str:
    licences = "; ".join(
        f"{folder.settings['corpus']} {folder.settings['licence']}" for folder in folders
    )
    return (
        f"Sound, {LABELS}, seeds: {seeds}. All of one corpus trains but for"
        f" {NUM_VALIDATION_SPEAKERS}"
        " speakers (of a corpus of two speakers: every tenth clip), on whom only the temperature is"
        " fitted; every usable clip of the other one is tested, once. The penalty of the regression"
        f" is fixed (C = {STRENGTH:g}). 95 %: whole speakers resampled. Licences: {licences}."
    )


if __name__ == "__main__":
    raise SystemExit(main())
