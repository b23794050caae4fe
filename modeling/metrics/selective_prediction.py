"""Selective prediction: error rate when only the most confident predictions are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.core.templates import render

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
COVERAGES = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class RiskCoverageCurve:
    """One point per distinct confidence, in falling order; the last covers every clip.

    Attributes:
      thresholds: (points,) float64, falling; a clip counts as answered if its confidence is not
        lower.
      num_answered: (points,) int64, clips answered.
      coverage: (points,) float64, share of the clips answered; the last is 1.
      risk: (points,) float64, share of errors among the answered.
      aurc: area under risk over coverage: the mean risk over the thresholds of all clips.
      best_aurc: AURC if every error had a lower confidence than every correct prediction.
    """

    thresholds: np.ndarray
    num_answered: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    aurc: float
    best_aurc: float


def confidence_and_correctness(
    truth: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of each prediction.

    Args:
      truth: (clips,) int.
      probabilities: (clips, classes) float.
    Returns:
      (clips,) float, highest probability; (clips,) bool.
    """
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


def confidence_from_rows(
    rows: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """As `confidence_and_correctness`, from the rows of a `predictions.csv`, all seeds together.

    Args:
      labels: classes in output order.
    """
    number = {label: index for index, label in enumerate(labels)}
    truth = np.array([number[row["label"]] for row in rows], np.int64)
    values = [[float(row[label]) for label in labels] for row in rows]
    return confidence_and_correctness(truth, np.array(values).reshape(-1, len(labels)))


def curve(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverageCurve:
    """Risk at every coverage that a threshold on the confidence can give.

    Clips of equal confidence are answered together or not at all, so their order has no effect.


    Args:
      confidence: (clips,) float, finite, at least one.
      correct: (clips,) bool.
    Raises:
      ValueError: no clip, unequal lengths, or a confidence that is not finite.
    Source: Geifman, Uziel & El-Yaniv 2019, Bias-Reduced Uncertainty Estimation for Deep Neural
      Classifiers, section 2; `best_aurc` uses their optimal confidence.
    """
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, bool)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(correct):
        raise ValueError(
            "confidence and correct must be (clips,) of one length, at least 1, received"
            f" {confidence.shape} and {correct.shape}"
        )
    if not np.isfinite(confidence).all():
        raise ValueError("confidence must be finite")
    num_clips = len(correct)
    values, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~correct, minlength=len(values))[::-1]
    num_answered = np.cumsum(sizes[::-1])
    risk = np.cumsum(errors) / num_answered
    ranks = np.arange(1, num_clips + 1)
    return RiskCoverageCurve(
        thresholds=values[::-1],
        num_answered=num_answered,
        coverage=num_answered / num_clips,
        risk=risk,
        aurc=float(np.sum(sizes[::-1] * risk) / num_clips),
        best_aurc=float(np.mean(np.maximum(ranks - int(correct.sum()), 0) / ranks)),
    )


def threshold_for(found: RiskCoverageCurve, coverage: float) -> float:
    """The highest threshold that answers at least this share of the clips.

    Raises:
      ValueError: `coverage` is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be in (0, 1], received {coverage}")
    return float(found.thresholds[np.searchsorted(found.coverage, coverage)])


def at_threshold(found: RiskCoverageCurve, threshold: float) -> dict[str, Any]:
    """Coverage and accuracy when predictions below a threshold are withheld.

    Returns:
      `threshold`; `num_answered`; `coverage`; `accuracy` of the answered clips, None without any.
    """
    num_points = int(np.sum(found.thresholds >= threshold))
    last = num_points - 1
    return {
        "threshold": threshold,
        "num_answered": int(found.num_answered[last]) if num_points else 0,
        "coverage": float(found.coverage[last]) if num_points else 0.0,
        "accuracy": float(1 - found.risk[last]) if num_points else None,
    }


def report(found: RiskCoverageCurve) -> dict[str, Any]:
    """The content of `risk_coverage` in `metrics.json`.

    Returns:
      `aurc`; `best_aurc`; `excess_aurc`, their difference; `risk` without abstaining; `num_clips`;
      `at_thresholds`: see `at_threshold`, for thresholds 0.3 to 0.9; `at_coverages`: the same for
      the thresholds that reach `wanted_coverage`.
    """
    wanted = ((coverage, threshold_for(found, coverage)) for coverage in COVERAGES)
    return {
        "aurc": found.aurc,
        "best_aurc": found.best_aurc,
        "excess_aurc": found.aurc - found.best_aurc,
        "risk": float(found.risk[-1]),
        "num_clips": int(found.num_answered[-1]),
        "at_thresholds": [at_threshold(found, threshold) for threshold in THRESHOLDS],
        "at_coverages": [
            {"wanted_coverage": coverage, **at_threshold(found, threshold)}
            for coverage, threshold in wanted
        ],
    }


def curve_rows(found: RiskCoverageCurve) -> Iterator[dict[str, Any]]:
    """The points of a curve as table rows; thresholds have full precision, for reuse."""
    columns = (found.thresholds, found.num_answered, found.coverage, found.risk)
    for threshold, num_answered, coverage, risk in zip(*columns, strict=True):
        yield {
            "threshold": float(threshold),
            "num_answered": int(num_answered),
            "coverage": f"{coverage:.6f}",
            "risk": f"{risk:.6f}",
        }


def format_report(scores: Mapping[str, Any]) -> list[str]:
    """A report as readable lines."""
    return render("affectstream.modeling.metrics", "risk_coverage.txt.j2", risk=scores).splitlines()
