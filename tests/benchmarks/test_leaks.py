"""The benchmark of leaks: each fault shows where it must, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from affectstream.modeling.crossval.folds import make_folds
from affectstream.modeling.metrics import classification
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.labels import BASIC7
from benchmarks.accuracy import classical, leaks
from tests.support import models

LABELS = BASIC7.labels


@pytest.fixture(scope="module")
def rows() -> list[ClipRow]:
    made = models.records(5, 6, streams=("text",))
    return [models.clip_row_of(one, "0") for one in made]


def uar(values: np.ndarray, rows: Sequence[ClipRow], names: Sequence[str]) -> float:
    folds = make_folds(rows, "5", Path("data"), 1)
    logs = classical.log_probabilities(values, rows, BASIC7, folds, names)
    truth = np.array([LABELS.index(row.label) for row in rows])
    return classification.accuracies(truth, logs.argmax(axis=1))["uar"]


def test_what_holds_of_a_speaker_only_shows_under_a_random_split(rows: list[ClipRow]) -> None:
    rng = np.random.default_rng(0)
    speakers = sorted({row.speaker for row in rows})
    # Each speaker says each class in a way of its own.
    ways = {(s, label): rng.normal(size=40) for s in speakers for label in LABELS}
    values = np.stack([ways[row.speaker, row.label] for row in rows])
    shown = leaks.regression(values + rng.normal(0, 0.1, values.shape), rows, uar)
    assert shown[leaks.BASELINE] < 0.4
    assert shown[leaks.RANDOM_SPLIT] > 0.9


def test_what_a_speaker_adds_goes_by_speaker_norm(rows: list[ClipRow]) -> None:
    rng = np.random.default_rng(0)
    speakers = sorted({row.speaker for row in rows})
    truth = np.eye(7)[[LABELS.index(row.label) for row in rows]]
    own = {name: rng.normal(0, 20, 7) for name in speakers}
    values = truth + np.stack([own[row.speaker] for row in rows])
    shown = leaks.regression(values + rng.normal(0, 0.1, values.shape), rows, uar)
    assert shown[leaks.SPEAKER_NORM] > 0.95 > shown[leaks.BASELINE] + 0.1
    normal = leaks.by_speaker(values, [row.speaker for row in rows])
    one = normal[[row.speaker == speakers[0] for row in rows]]
    assert one.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert one.std(axis=0) == pytest.approx(1)


def test_a_row_tells_the_difference_and_leaves_out_what_was_not_tried() -> None:
    cells = leaks._row("net", {leaks.BASELINE: 0.5, leaks.RANDOM_SPLIT: 0.62})
    assert cells == ("net", "0.500", "0.620 (+0.120)", "", "")
