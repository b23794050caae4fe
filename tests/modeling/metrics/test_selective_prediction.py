"""Risk over coverage: the curve, its area, its thresholds, and what `evaluate` writes of it."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from affectstream.core.errors import EXIT_OK
from affectstream.modeling.metrics import plots
from affectstream.modeling.metrics.selective_prediction import (
    COVERAGES,
    THRESHOLDS,
    at_threshold,
    confidence_and_correctness,
    confidence_from_rows,
    curve,
    curve_rows,
    format_report,
    report,
    threshold_for,
)
from tests.support.models import LABELS, picture, run

CONFIDENCE = np.array([0.9, 0.8, 0.6, 0.6, 0.4])
CORRECT = np.array([True, False, True, False, False])


def drawn(num_clips: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of two digits, so that many are equal, each right as often as it says."""
    rng = np.random.default_rng(0)
    confidence = np.round(rng.uniform(0.2, 1, num_clips), 2)
    return confidence, rng.random(num_clips) < confidence


def plain_aurc(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The definition, clip by clip: each confidence is a threshold once."""
    risks = [1 - correct[confidence >= threshold].mean() for threshold in confidence]
    return float(np.mean(risks))


# === The curve ===


def test_risk_over_coverage_is_as_reckoned_by_hand() -> None:
    found = curve(CONFIDENCE, CORRECT)
    assert found.thresholds.tolist() == [0.9, 0.8, 0.6, 0.4]
    assert found.num_answered.tolist() == [1, 2, 4, 5]
    np.testing.assert_allclose(found.coverage, [0.2, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 2 / 4, 3 / 5])
    # The two of 0.6 stand at one threshold, and each counts.
    assert found.aurc == pytest.approx((0 + 1 / 2 + 2 / 4 + 2 / 4 + 3 / 5) / 5)
    # Two right ones first: 0, 0, then 1 of 3, 2 of 4, 3 of 5 wrong.
    assert found.best_aurc == pytest.approx((1 / 3 + 2 / 4 + 3 / 5) / 5)


def test_the_area_is_that_of_the_definition() -> None:
    confidence, correct = drawn()
    assert len(np.unique(confidence)) < 100
    assert curve(confidence, correct).aurc == pytest.approx(plain_aurc(confidence, correct))


def test_the_order_of_equal_confidences_has_no_effect() -> None:
    confidence, correct = drawn()
    order = np.random.default_rng(1).permutation(len(correct))
    one, other = curve(confidence, correct), curve(confidence[order], correct[order])
    assert one.aurc == other.aurc
    np.testing.assert_array_equal(one.risk, other.risk)
    assert list(curve_rows(one)) == list(curve_rows(other))


def test_best_none_and_worst() -> None:
    _, correct = drawn()
    best = curve(correct + 0.0, correct)
    exact = curve(correct + np.linspace(0, 0.5, len(correct)), correct)
    assert exact.aurc == pytest.approx(exact.best_aurc)
    assert best.best_aurc == exact.best_aurc
    blind = curve(np.full(len(correct), 0.5), correct)
    assert blind.aurc == pytest.approx(1 - correct.mean())
    assert len(blind.risk) == 1
    worst = curve(1.0 - correct, correct)
    assert worst.risk[0] == 1
    assert worst.aurc > blind.aurc > best.aurc
    assert curve(np.array([0.7]), np.array([True])).aurc == 0
    assert curve(np.array([0.7]), np.array([False])).best_aurc == 1


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([], []), ([0.5], [True, False]), ([[0.5]], [[True]]), ([np.nan], [True])],
)
def test_what_is_no_curve(confidence: list[float], correct: list[bool]) -> None:
    with pytest.raises(ValueError, match="confidence"):
        curve(np.array(confidence), np.array(correct))


# === Thresholds ===


def test_the_threshold_for_a_coverage() -> None:
    found = curve(CONFIDENCE, CORRECT)
    wanted = {0.1: 0.9, 0.2: 0.9, 0.21: 0.8, 0.4: 0.8, 0.5: 0.6, 0.8: 0.6, 0.81: 0.4, 1.0: 0.4}
    assert {coverage: threshold_for(found, coverage) for coverage in wanted} == wanted
    confidence, correct = drawn()
    found = curve(confidence, correct)
    for coverage in (0.05, 0.3, 0.5, 0.77, 0.9, 1.0):
        threshold = threshold_for(found, coverage)
        assert np.mean(confidence >= threshold) >= coverage
        assert np.mean(confidence > threshold) < coverage  # no higher one does
    for coverage in (0.0, 1.01, -1.0, float("nan")):
        with pytest.raises(ValueError, match="coverage must be in"):
            threshold_for(found, coverage)


def test_a_threshold_tells_coverage_and_accuracy() -> None:
    found = curve(CONFIDENCE, CORRECT)
    assert at_threshold(found, 0.6) == {
        "threshold": 0.6,
        "num_answered": 4,
        "coverage": 0.8,
        "accuracy": 0.5,
    }
    assert at_threshold(found, 0.95) == {
        "threshold": 0.95,
        "num_answered": 0,
        "coverage": 0.0,
        "accuracy": None,
    }
    assert at_threshold(found, 0.0)["accuracy"] == pytest.approx(0.4)
    confidence, correct = drawn()
    for row in report(curve(confidence, correct))["at_thresholds"]:
        answered = confidence >= row["threshold"]
        assert row["num_answered"] == answered.sum()
        assert row["coverage"] == pytest.approx(answered.mean())
        assert row["accuracy"] == pytest.approx(correct[answered].mean())


def test_a_report_holds_all_thresholds_and_coverages() -> None:
    told = report(curve(*drawn()))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [row["threshold"] for row in told["at_thresholds"]] == list(THRESHOLDS)
    assert [row["wanted_coverage"] for row in told["at_coverages"]] == list(COVERAGES)
    for row in told["at_coverages"]:
        assert row["coverage"] >= row["wanted_coverage"]
    assert told["excess_aurc"] == pytest.approx(told["aurc"] - told["best_aurc"])
    assert told["num_clips"] == 400
    said = format_report(report(curve(CONFIDENCE, CORRECT)))
    assert said[0] == "  AURC      0.420, at best 0.287"
    assert said[-1] == "  below 0.9      20.0%      1.000"
    assert format_report(report(curve(CONFIDENCE / 2, CORRECT)))[-1].split() == [
        "below",
        "0.9",
        "0.0%",
        "-",
    ]


# === Rows of predictions ===


def test_of_rows_of_predictions() -> None:
    labels = ("happy", "sad", "angry")
    rows = [
        {"label": "happy", "seed": "0", "happy": "0.7", "sad": "0.2", "angry": "0.1"},
        {"label": "sad", "seed": "0", "happy": "0.5", "sad": "0.4", "angry": "0.1"},
        {"label": "angry", "seed": "1", "happy": "0.1", "sad": "0.3", "angry": "0.6"},
    ]
    confidence, correct = confidence_from_rows(rows, labels)
    assert confidence.tolist() == [0.7, 0.5, 0.6]
    assert correct.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="at least 1"):
        curve(*confidence_from_rows([], labels))


@pytest.mark.usefixtures("drawn_pictures")
def test_a_picture_of_any_curve(tmp_path: Path) -> None:
    for name, found in {
        "many": curve(*drawn()),
        "one": curve(np.full(9, 0.5), np.arange(9) < 5),
        "right": curve(np.linspace(0.2, 1, 9), np.ones(9, bool)),
        "wrong": curve(np.linspace(0.2, 1, 9), np.zeros(9, bool)),
    }.items():
        plots.risk_coverage(found, tmp_path / f"{name}.png", name)
        assert picture(tmp_path / f"{name}.png").std() > 5


# === What `evaluate` writes ===


@pytest.mark.usefixtures("drawn_pictures")
def test_evaluate_writes_risk_over_coverage(
    video_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    words = ("--run", video_run, "--data", toy_data, "--out", tmp_path)
    with redirect_stdout(io.StringIO()) as printed:
        assert run("evaluate", *words) == EXIT_OK
    scores = json.loads((tmp_path / "metrics.json").read_text())
    told = scores["risk_coverage"]
    assert "\n".join(format_report(told)) in printed.getvalue()
    assert told["risk"] == pytest.approx(1 - scores["wa"])
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    shares = np.array([[float(row[label]) for label in LABELS] for row in predictions])
    truth = np.array([LABELS.index(row["label"]) for row in predictions])
    confidence, correct = confidence_and_correctness(truth, shares)
    assert told["aurc"] == pytest.approx(plain_aurc(confidence, correct), abs=1e-6)
    again = curve(*confidence_from_rows(predictions, LABELS))
    with open(tmp_path / "risk_coverage.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["threshold", "num_answered", "coverage", "risk"]
    assert (rows[-1]["num_answered"], float(rows[-1]["coverage"])) == (str(len(truth)), 1.0)
    written = [float(row["threshold"]) for row in rows]
    np.testing.assert_allclose(written, again.thresholds, atol=1e-6)
    np.testing.assert_allclose([float(row["risk"]) for row in rows], again.risk, atol=1e-6)
    assert picture(tmp_path / "risk_coverage.png").std() > 5
