"""Scores, against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

from affectstream.modeling.crossval.scores import pooled_scores, uar_difference
from affectstream.modeling.metrics import classification

LABELS = ("neutral", "happy", "sad", "angry")


def guessed(num_clips: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(LABELS), size=num_clips)
    logits = rng.normal(size=(num_clips, len(LABELS))) + 1.5 * np.eye(len(LABELS))[truth]
    shares = np.exp(logits)
    return truth, shares / shares.sum(axis=1, keepdims=True)


def speakers(num_clips: int, num_speakers: int) -> list[str]:
    return [f"toy/{i % num_speakers:02d}" for i in range(num_clips)]


def test_scores_are_those_of_scikit_learn() -> None:
    truth, shares = guessed()
    guesses = shares.argmax(axis=1)
    told = classification.report(truth, shares, LABELS, speakers(200, 5))
    assert told["uar"] == pytest.approx(balanced_accuracy_score(truth, guesses))
    assert told["wa"] == pytest.approx(accuracy_score(truth, guesses))
    assert told["macro_f1"] == pytest.approx(f1_score(truth, guesses, average="macro"))
    assert told["weighted_f1"] == pytest.approx(f1_score(truth, guesses, average="weighted"))
    recalls = recall_score(truth, guesses, average=None)
    for index, label in enumerate(LABELS):
        assert told["per_class"][label]["recall"] == pytest.approx(recalls[index])
        assert told["per_class"][label]["num_clips"] == (truth == index).sum()
    assert np.array(told["confusion_matrix"]).sum() == 200
    assert np.diag(told["confusion_matrix"]).sum() == (truth == guesses).sum()
    assert np.array(told["confusion_matrix"]).sum(axis=1).tolist() == np.bincount(truth).tolist()
    json.dumps(told, allow_nan=False)


def test_a_report_has_the_keys_of_the_contract() -> None:
    truth, shares = guessed()
    told = classification.report(truth, shares, LABELS, speakers(200, 5))
    assert set(told) == {
        *("uar", "wa", "macro_f1", "weighted_f1", "ece", "uar_ci95", "num_clips", "num_speakers"),
        *("per_class", "per_speaker", "confusion_matrix", "labels"),
        *("uar_ci95_note", "num_clips_of_unknown_speakers"),
    }
    for scores in told["per_class"].values():
        assert set(scores) == {"recall", "precision", "f1", "num_clips"}
    assert list(told["per_speaker"]) == [f"toy/{i:02d}" for i in range(5)]
    for scores in told["per_speaker"].values():
        assert set(scores) == {"uar", "wa", "num_clips"}


def test_each_speaker_for_itself() -> None:
    truth, shares = guessed()
    who = speakers(200, 4)
    told = classification.report(truth, shares, LABELS, who)["per_speaker"]["toy/02"]
    own = np.array(who) == "toy/02"
    guesses = shares.argmax(axis=1)
    assert told["num_clips"] == own.sum()
    assert told["wa"] == pytest.approx(accuracy_score(truth[own], guesses[own]))
    assert told["uar"] == pytest.approx(balanced_accuracy_score(truth[own], guesses[own]))


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    truth = np.array([0, 0, 1, 1])
    shares = np.eye(4)[[0, 3, 1, 1]]
    told = classification.report(truth, shares, LABELS, speakers(4, 1))
    assert told["per_class"]["sad"]["recall"] is None
    assert told["per_class"]["angry"]["recall"] is None
    assert told["per_class"]["angry"]["precision"] == 0.0
    assert told["uar"] == pytest.approx((0.5 + 1.0) / 2)
    assert told["macro_f1"] == pytest.approx((2 / 3 + 1.0) / 2)
    assert np.shape(told["confusion_matrix"]) == (4, 4)
    json.dumps(told, allow_nan=False)


# === Calibration ===


def test_ece_by_hand() -> None:
    # Two bins: 0.9 sure and always right, 0.6 sure and right once in two.
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    truth = np.array([0, 0, 0, 1])
    assert classification.expected_calibration_error(truth, shares) == pytest.approx(
        0.5 * 0.1 + 0.5 * 0.1
    )
    bins = classification.reliability(truth, shares)
    assert bins == [
        (pytest.approx(0.6), pytest.approx(0.5), 2),
        (pytest.approx(0.9), pytest.approx(1.0), 2),
    ]


def test_ece_of_the_sure() -> None:
    shares = np.eye(3)[[0, 1, 2]]
    assert classification.expected_calibration_error(np.array([0, 1, 2]), shares) == 0.0
    assert classification.expected_calibration_error(np.array([1, 2, 0]), shares) == 1.0


# === The interval ===


def test_under_three_speakers_there_is_no_interval() -> None:
    truth, shares = guessed()
    guesses = shares.argmax(axis=1)
    for count in (1, 2):
        assert classification.uar_confidence_interval(truth, guesses, speakers(200, count)) is None
    assert classification.uar_confidence_interval(truth, guesses, speakers(200, 3)) is not None


def test_the_interval_is_over_speakers_not_clips() -> None:
    # Half the speakers are always recognised, half never: speakers differ, clips hardly.
    truth = np.tile(np.arange(4), 100)
    who = np.repeat([f"toy/{i}" for i in range(4)], 100)
    right = np.repeat([True, True, False, False], 100)
    guesses = np.where(right, truth, (truth + 1) % 4)
    low, high = classification.uar_confidence_interval(truth, guesses, list(who)) or (0.0, 0.0)
    assert (low, high) == (0.0, 1.0)
    by_clip = classification.uar_confidence_interval(truth, guesses, [""] * 400)
    assert by_clip is not None
    assert 0.43 < by_clip[0] < 0.5 < by_clip[1] < 0.57


def test_the_interval_is_that_of_whole_resampling() -> None:
    truth, shares = guessed(120, seed=3)
    guesses = shares.argmax(axis=1)
    who = np.array(speakers(120, 6))
    rng = np.random.default_rng(7)
    names = np.unique(who)
    uars = []
    for _ in range(1000):
        chosen = np.concatenate([np.flatnonzero(who == n) for n in rng.choice(names, len(names))])
        uars.append(balanced_accuracy_score(truth[chosen], guesses[chosen]))
    expected = np.percentile(uars, [2.5, 97.5])
    assert classification.uar_confidence_interval(truth, guesses, list(who)) == pytest.approx(
        expected, abs=0.015
    )


def test_unknown_speakers_are_not_one_person() -> None:
    """Two corpora, one with three speakers and one that knows none."""
    truth = np.tile(np.arange(4), 50)
    guesses = np.where(np.arange(200) < 100, truth, (truth + np.arange(200) // 4 % 2) % 4)
    known = ["a/1"] * 40 + ["a/2"] * 30 + ["a/3"] * 30
    given = known + [""] * 100
    apart = known + [f"b/{i}" for i in range(100)]
    told = classification.uar_confidence_interval(truth, guesses, given)
    assert told == pytest.approx(
        classification.uar_confidence_interval(truth, guesses, apart), abs=0.01
    )
    as_one = classification.uar_confidence_interval(truth, guesses, known + ["nobody"] * 100)
    assert told is not None and as_one is not None
    assert told[1] - told[0] < 0.9 * (as_one[1] - as_one[0])
    report = classification.report(truth, np.eye(4)[guesses], LABELS, given)
    assert report["uar_ci95"] == told
    assert report["uar_ci95_note"] == "over speakers, and clips of unknown speakers"
    assert (report["num_speakers"], report["num_clips_of_unknown_speakers"]) == (3, 100)
    assert list(report["per_speaker"]) == ["a/1", "a/2", "a/3"]


def test_records_of_one_recording_of_an_unknown_speaker_are_drawn_together() -> None:
    """A long clip becomes several records, which are no more than one."""
    truth = np.tile(np.arange(4), 30)
    right = np.repeat(np.arange(6) % 2 == 0, 20)
    guesses = np.where(right, truth, (truth + 1) % 4)
    recordings = [f"x/{i // 20}" for i in range(120)]
    told = classification.report(truth, np.eye(4)[guesses], LABELS, [""] * 120, recordings)
    as_speakers = classification.uar_confidence_interval(truth, guesses, recordings)
    assert told["uar_ci95"] == as_speakers
    assert told["uar_ci95_note"] == "over recordings"
    assert told["num_speakers"] is None


@pytest.mark.parametrize(
    ("speakers", "recordings", "note"),
    [
        (["a"], [], "no interval: 1 speaker, at least 3 are needed"),
        (["a", "b", "b"], [], "no interval: 2 speakers, at least 3 are needed"),
        (["", ""], [], "no interval: 2 clips of unknown speakers, at least 3 are needed"),
        (
            ["a", "", ""],
            ["p", "q", "q"],
            "no interval: 1 speaker and 1 recording of unknown speakers, at least 3 are needed",
        ),
        (["a", "b", "c"], [], "over speakers"),
        (["", "", ""], [], "over clips"),
        (["a", "", ""], [], "over speakers, and clips of unknown speakers"),
    ],
)
def test_how_the_interval_was_drawn_or_why_there_is_none(
    speakers: list[str], recordings: list[str], note: str
) -> None:
    assert classification.interval_note(speakers, recordings) == note
    truth = np.arange(len(speakers)) % 2
    there = classification.uar_confidence_interval(
        truth, truth, classification.clusters(speakers, recordings)
    )
    assert (there is None) == note.startswith("no interval")


def test_pooled_scores_of_unknown_speakers() -> None:
    """One clip predicted by two seeds is one clip; "" is nobody's name."""
    rows = [
        {
            "seed": str(seed),
            "id": f"c{i}",
            "speaker": "",
            "sex": "",
            "intensity": "",
            "label": LABELS[i % 4],
            **{name: "0.7" if (name == LABELS[i % 4]) == (i % 3 > 0) else "0.1" for name in LABELS},
        }
        for seed in range(2)
        for i in range(40)
    ]
    found = pooled_scores(rows, LABELS)
    assert (found["num_clips"], found["num_speakers"], found["per_speaker"]) == (40, None, {})
    once = pooled_scores(rows[:40], LABELS)
    assert found["uar_ci95"] == pytest.approx(once["uar_ci95"])
    difference, ends = uar_difference(rows, rows, LABELS)
    assert (difference, ends) == (0.0, [0.0, 0.0])


def test_the_interval_is_the_same_every_time() -> None:
    truth, shares = guessed()
    told = [
        classification.report(truth, shares, LABELS, speakers(200, 5))["uar_ci95"] for _ in range(2)
    ]
    assert told[0] == told[1]
    assert told[0][0] < classification.accuracies(truth, shares.argmax(axis=1))["uar"] < told[0][1]


def test_a_report_without_speakers_has_no_scores_by_speaker() -> None:
    truth, shares = guessed()
    told = classification.report(truth, shares, LABELS, [""] * 200)
    assert told["num_speakers"] is None
    assert told["per_speaker"] == {}
    assert told["uar_ci95"] is not None
