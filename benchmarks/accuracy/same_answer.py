"""Is the score that is published the one that users get? `evaluate` of records, `predict` of files.

The clips of a prepared corpus are scored as records, then each file is asked about by `predict`.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectstream.core.errors import MediaError
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from benchmarks import report

COLUMNS = ("model", "clips", "UAR, evaluate", "UAR, predict", "labels that differ", "largest")


@dataclass(frozen=True)
class PairedPredictions:
    """What is answered twice of the same clips.

    Attributes:
      truth: (clips,) int.
      evaluated, predicted: (clips, classes) probabilities.
    """

    truth: np.ndarray
    evaluated: np.ndarray
    predicted: np.ndarray

    @property
    def num_other_labels(self) -> int:
        labels = [
            probabilities.argmax(axis=1) for probabilities in (self.evaluated, self.predicted)
        ]
        return int(np.sum(labels[0] != labels[1]))

    @property
    def largest(self) -> float:
        """Largest difference of any probability."""
        return float(np.abs(self.evaluated - self.predicted).max())

    def uars(self) -> tuple[float, float]:
        """By `evaluate`, by `predict`."""
        from affectstream.modeling.metrics import classification

        first, second = (
            classification.accuracies(self.truth, probabilities.argmax(axis=1))["uar"]
            for probabilities in (self.evaluated, self.predicted)
        )
        return first, second


def predict_both_ways(
    run: Path, data: DataFolder, source: Path, split: str, allow_leak: bool = False
) -> PairedPredictions:
    """Answers for the clips of a split, by both commands; clips that were cut from longer files are
    left out, since `predict` answers for whole files.

    Args:
      source: where the files lie, as `preprocess` was told.
    Raises:
      UserError: a leak, or data that do not fit.
      MediaError: a file is gone or cannot be read.
    """
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate
    from affectstream.serving.loading import load

    recognizer = load(run)
    labels = recognizer.labels
    rows = {row.id: row for row in data.subset(split)}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        evaluate(run, [data], split, Path(folder), allow_leak)
        with open(Path(folder) / PREDICTIONS, newline="", encoding="utf-8") as file:
            for told in csv.DictReader(file):
                row = rows[told["id"]]
                answer = recognizer(source / row.path)
                if row.start_s or abs(answer.duration_s - row.end_s) > 1e-6:
                    continue
                truth = labels.index(told["label"])
                shares = [float(told[label]) for label in labels]
                found.append((truth, shares, [answer.probabilities[label] for label in labels]))
    return PairedPredictions(*map(np.array, zip(*found, strict=True)))


def row_of(name: str, answers: PairedPredictions) -> tuple[str, ...]:
    uars = (f"{uar:.3f}" for uar in answers.uars())
    largest = f"{answers.largest:.1e}"
    return (name, str(len(answers.truth)), *uars, str(answers.num_other_labels), largest)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    options = report.parser(__doc__, has_quick=False, section="same-answer")
    options.add_argument("runs", type=Path, nargs="+", help="run folders")
    options.add_argument("--data", type=Path, required=True, help="prepared clips")
    options.add_argument("--source", type=Path, required=True, help="where the files lie")
    options.add_argument("--split", default="test")
    options.add_argument("--allow-leak", action="store_true")
    chosen = options.parse_args(words)
    machine, rows, num_other = report.machine(), [], 0
    with report.user_errors():
        data = open_data_folder(chosen.data)
        for run in chosen.runs:
            try:
                answers = predict_both_ways(
                    run, data, chosen.source, chosen.split, chosen.allow_leak
                )
            except MediaError as error:
                print(f"{run}: {error}", file=sys.stderr)
                return 1
            num_other += answers.num_other_labels
            rows.append(row_of(run.name, answers))
            print(*rows[-1], sep="\t")
    note = (
        f"`{data.path.name}`, {chosen.split}: each clip scored as a record by `evaluate`, and its"
        " file answered by `predict`. `largest`: difference of any probability (those of"
        " `evaluate` are written with six digits)."
    )
    parts = [note, report.table(COLUMNS, rows)]
    report.publish("The same answer", "same_answer", words, machine, parts, chosen)
    return 1 if num_other else 0


if __name__ == "__main__":
    raise SystemExit(main())
