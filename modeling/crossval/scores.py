"""Scores of pooled out-of-fold predictions: each clip is predicted once per seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from affectstream.modeling.metrics import classification
from affectstream.preprocessing.dataset.splits import natural_key

NUM_DRAWS = 200
SCORES = ("uar", "wa", "macro_f1", "ece", "calibrated_model_ece")


def calibrated_model_ece(probabilities: np.ndarray, seed: int = 0) -> float:
    """Expected ECE of a perfectly calibrated model with the same confidences.

    Labels are drawn from the predicted probabilities, so accuracy equals confidence in expectation.
    The remaining ECE comes from the finite number of clips alone. Mean over 200 draws.

    Args:
      probabilities: (clips, classes) float; rows sum to 1 within rounding.
    """
    rng = np.random.default_rng(seed)
    steps = np.cumsum(probabilities, axis=1)
    steps /= steps[:, -1:]
    drawn = []
    for _ in range(NUM_DRAWS):
        labels = (rng.random((len(steps), 1)) >= steps).sum(axis=1)
        drawn.append(classification.expected_calibration_error(labels, probabilities))
    return float(np.mean(drawn))


def pooled_scores(rows: Sequence[dict[str, str]], labels: Sequence[str]) -> dict[str, Any]:
    """All scores of a crossval.

    UAR, WA and recalls over the clips of all seeds together equal the means over seeds, because
    every seed predicts the same clips. The interval is also that of the mean UAR.

    Args:
      rows: of `predictions.csv`.
      labels: classes in output order.
    Returns:
      `per_seed`: a list of `SCORES`, `uar_ci95` and `seed`; `mean` and `deviation` of `SCORES` over
      seeds (sample deviation, None for one seed); `uar_ci95` of the mean, clustered by speaker, or
      by clip for unknown speakers; `num_speakers`: known speakers, None without any; `per_class`,
      `per_speaker`, `per_sex`, `per_intensity`; `confusion_matrix` (classes, classes): clips of all
      seeds, rows are the truth; `reliability`: see `metrics.reliability`.
    """
    truth, probabilities = _arrays(rows, labels)
    predicted = probabilities.argmax(axis=1)
    seeds = np.array([int(row["seed"]) for row in rows])
    speakers = np.array([row["speaker"] for row in rows])
    clusters = classification.clusters(speakers.tolist(), [row["id"] for row in rows])
    per_seed = []
    for seed in np.unique(seeds):
        in_seed = seeds == seed
        scores = classification.report(
            truth[in_seed], probabilities[in_seed], labels, speakers[in_seed].tolist()
        )
        scores["calibrated_model_ece"] = calibrated_model_ece(probabilities[in_seed])
        per_seed.append({"seed": int(seed), **{key: scores[key] for key in (*SCORES, "uar_ci95")}})
    values = {key: np.array([one[key] for one in per_seed]) for key in SCORES}

    def by(column: str) -> dict[str, dict[str, Any]]:
        return _by_group([row[column] for row in rows], truth, predicted, len(per_seed))

    return {
        "num_clips": len(rows) // len(per_seed),
        "num_speakers": len({*speakers} - {""}) or None,
        "num_seeds": len(per_seed),
        "per_seed": per_seed,
        "mean": {key: float(per_seed_values.mean()) for key, per_seed_values in values.items()},
        "std": {key: _deviation(per_seed_values) for key, per_seed_values in values.items()},
        "uar_ci95": classification.uar_confidence_interval(truth, predicted, clusters),
        "per_class": _per_class(truth, predicted, seeds, labels),
        "per_speaker": by("speaker"),
        "per_sex": by("sex"),
        "per_intensity": by("intensity"),
        "confusion_matrix": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
        "reliability": classification.reliability(truth, probabilities),
        "labels": list(labels),
    }


def uar_difference(
    rows: Sequence[dict[str, str]], base: Sequence[dict[str, str]], labels: Sequence[str]
) -> tuple[float, list[float] | None]:
    """Difference in UAR between two crossvals of the same clips.

    The interval covers variation over speakers, not over seeds.

    Args:
      rows, base: rows of their `predictions.csv`, with the same clips and seeds.
    Returns:
      the difference of the mean UARs, and its 95 % interval from resampling whole speakers, the
      same for both; None with fewer than three speakers.
    Raises:
      ValueError: the clips or seeds differ.
    """
    keys = ("seed", "id", "speaker", "label")
    if {tuple(r[k] for k in keys) for r in rows} != {tuple(r[k] for k in keys) for r in base}:
        raise ValueError("the two crossvals are of other clips or seeds")
    means, drawn = [], []
    for one in (rows, base):
        truth, probabilities = _arrays(one, labels)
        predicted = probabilities.argmax(axis=1)
        means.append(classification.accuracies(truth, predicted)["uar"])
        clusters = classification.clusters(
            [row["speaker"] for row in one], [row["id"] for row in one]
        )
        drawn.append(classification.bootstrap_uars(truth, predicted, clusters))
    difference = float(means[0] - means[1])
    if drawn[0] is None or drawn[1] is None:
        return difference, None
    ends = np.percentile(drawn[0] - drawn[1], [2.5, 97.5])
    return difference, [float(value) for value in ends]


def _arrays(rows: Sequence[dict[str, str]], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(predictions,) int truth and (predictions, classes) float64 probabilities."""
    number = {label: i for i, label in enumerate(labels)}
    truth = np.array([number[row["label"]] for row in rows])
    return truth, np.array([[float(row[label]) for label in labels] for row in rows])


def _deviation(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _per_class(
    truth: np.ndarray, predicted: np.ndarray, seeds: np.ndarray, labels: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Recall of each class that occurs: mean and deviation over seeds."""
    recalls_by_label = {}
    each = np.unique(seeds)
    for index, label in enumerate(labels):
        has_label = truth == index
        if has_label.any():
            recalls = np.array(
                [np.mean(predicted[has_label & (seeds == s)] == index) for s in each]
            )
            recalls_by_label[label] = {
                "recall": float(recalls.mean()),
                "std": _deviation(recalls),
                "num_clips": int(has_label.sum()) // len(each),
            }
    return recalls_by_label


def _by_group(
    names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, num_seeds: int
) -> dict[str, dict[str, Any]]:
    """UAR and WA, means over seeds, of each known group."""
    groups = np.array(names)
    scores_by_group = {}
    for name in sorted({*names} - {""}, key=natural_key):
        in_group = groups == name
        scores = classification.accuracies(truth[in_group], predicted[in_group])
        scores_by_group[name] = {**scores, "num_clips": int(in_group.sum()) // num_seeds}
    return scores_by_group
