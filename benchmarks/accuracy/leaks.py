"""What leaking shows on RAVDESS, beside the honest figures on the same folds.

Networks by `crossval --leakage-scenario all`, seed 0 (trained where they are not yet; stopped, it
goes on),
and logistic regression over ComParE 2016 and over action units. Writes the section `leaks` of
docs/results.md. None of its figures is a score of anything: they say how far one is misled.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from affectstream.commands.options.engine_options import make_engine
from affectstream.core import registry
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, open_data_folder
from benchmarks import report
from benchmarks.accuracy import classical

LABELS = "ravdess8"
NUM_VALIDATION_SPEAKERS = 2
BASELINE, RANDOM_SPLIT, TEST_EPOCH, SPEAKER_NORM = KINDS = (
    "honest",
    "random-split",
    "test-epoch",
    "speaker-norm",
)
# UAR of each protocol that was tried.
ScenarioScores = dict[str, float]


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.crossval_parser(__doc__, "runs/leaks", "leaks")
    parser.add_argument("--data", type=Path, required=True, help="records with sound and OpenFace")
    parser.add_argument(
        "--recipes", nargs="*", default=["resnet-asp-3x80-audio", "action-units"], help="networks"
    )
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(words)
    machine = report.machine()
    with report.user_errors():
        data = open_data_folder(chosen.data)
        planned = _planned(chosen, data, "action-units", [])
        found = {
            **{f"`{name}`": _network(chosen, data, name) for name in chosen.recipes},
            **_classical(chosen, planned),
        }
    note = (
        f"{len(planned.rows)} clips, {LABELS}, {len(planned.folds)} folds; UAR, and its difference"
        " to the honest one on whole speakers. `random-split`: clips are dealt at random."
        " `test-epoch`: epoch and temperature are chosen on the tested speakers. `speaker-norm`:"
        " features are standardised over all clips of a speaker. One seed, one deal of the clips."
    )
    parts = [note, report.table(("", *KINDS), [_row(name, one) for name, one in found.items()])]
    report.publish(
        "What leaking would have shown", "leaks", words, machine, parts, *report.destination(chosen)
    )
    return 0


def _row(name: str, shown: ScenarioScores) -> tuple[str, ...]:
    def cell(kind: str) -> str:
        if kind not in shown:
            return ""
        told = f"{shown[kind]:.3f}"
        return told if kind == BASELINE else f"{told} ({shown[kind] - shown[BASELINE]:+.3f})"

    return (name, *map(cell, KINDS))


# === Networks ===


def _planned(chosen: Any, data: DataFolder, name: str, settings: Sequence[str]) -> Any:
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.crossval.config import plan_crossval

    recipe = registry.load("recipes", name).with_settings([f"labels={LABELS}", *settings])
    return plan_crossval(
        recipe, [], data, chosen.folds, 1, chosen.runs / name, NUM_VALIDATION_SPEAKERS
    )


def _network(chosen: Any, data: DataFolder, name: str) -> ScenarioScores:
    planned = _planned(chosen, data, name, chosen.settings)
    from affectstream.modeling.crossval.leakage import (
        ALL,
        choose_leakage_scenarios,
        run_leakage_scenarios,
    )
    from affectstream.modeling.crossval.report import write_report
    from affectstream.modeling.crossval.run import run_crossval

    engine = make_engine("local", None, chosen.workers)
    rows = run_crossval(planned, engine=engine)
    leaked = run_leakage_scenarios(planned, choose_leakage_scenarios(planned, [ALL]), engine)
    numbers = write_report(planned, rows, leaked)
    return {one["protocol"]: one["uar"] for one in numbers["leaks"]}


# === Logistic regression ===


def _classical(chosen: Any, planned: Any) -> dict[str, ScenarioScores]:
    rows = planned.rows
    values = {
        "voice: ComParE 2016 + logistic regression": classical.compare_functionals(
            planned.data, rows, chosen.runs / "compare.npz"
        ),
        "face: action units + logistic regression": classical.action_unit_means(planned.data, rows),
    }
    return {name: regression(one, rows, _uar_of(planned)) for name, one in values.items()}


def _uar_of(planned: Any) -> Callable[[np.ndarray, Sequence[ClipRow], Sequence[str]], float]:
    from affectstream.modeling.metrics import classification

    def uar(values: np.ndarray, rows: Sequence[ClipRow], speakers: Sequence[str]) -> float:
        labels, folds = planned.labels, planned.folds
        logs = classical.log_probabilities(values, rows, labels, folds, speakers)
        truth = np.array([labels.index(row.label) for row in rows])
        return classification.accuracies(truth, logs.argmax(axis=1))["uar"]

    return uar


def regression(
    values: np.ndarray,
    rows: Sequence[ClipRow],
    uar: Callable[[np.ndarray, Sequence[ClipRow], Sequence[str]], float],
) -> ScenarioScores:
    """UAR over the folds of each protocol that a regression can have.

    Args:
      values: (clips, dim) float in the order of `rows`.
      uar: of values, rows and the name by which each clip is put into a fold.
    """
    speakers = [row.speaker for row in rows]
    dealt = np.random.default_rng(0).permutation(speakers).tolist()
    return {
        BASELINE: uar(values, rows, speakers),
        RANDOM_SPLIT: uar(values, rows, dealt),
        SPEAKER_NORM: uar(by_speaker(values, speakers), rows, speakers),
    }


def by_speaker(values: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Each column with mean 0 and deviation 1 over the clips of each speaker."""
    made, names = np.zeros(values.shape), np.array(speakers)
    for name in dict.fromkeys(speakers):
        made[names == name] = StandardScaler().fit_transform(values[names == name])
    return made


if __name__ == "__main__":
    raise SystemExit(main())
