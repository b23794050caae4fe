"""The canonical labels, the words that mean them, and the label sets."""

from __future__ import annotations

import pytest

from affectstream.core import registry
from affectstream.preprocessing.labels import (
    CANONICAL_LABELS,
    SYNONYMS,
    LabelSet,
    to_canonical_label,
)

NAMES = registry.names("label-sets")


def test_the_one_list_and_its_order() -> None:
    assert (
        *("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
        *("excited", "frustrated", "love"),
    ) == CANONICAL_LABELS


@pytest.mark.parametrize("word", [*CANONICAL_LABELS, *SYNONYMS])
def test_every_known_word_means_a_canonical_label(word: str) -> None:
    assert to_canonical_label(f"  {word.upper()} ") in CANONICAL_LABELS


@pytest.mark.parametrize("word", ["", "bored", "happ", "0"])
def test_other_words_mean_none(word: str) -> None:
    assert to_canonical_label(word) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_label_set_selects_and_merges_canonical_labels(name: str) -> None:
    labels: LabelSet = registry.load("label-sets", name)
    assert len(set(labels.labels)) == len(labels.labels) >= 2
    assert set(labels.merges) <= set(CANONICAL_LABELS) - set(labels.labels)
    assert set(labels.merges.values()) <= set(labels.labels)
    for label in CANONICAL_LABELS:
        number = labels.index(label)
        assert (number is None) == (label not in labels.labels and label not in labels.merges)
    assert [labels.index(label) for label in labels.labels] == list(range(len(labels.labels)))


def test_ravdess8_ravdess7_and_basic7() -> None:
    ravdess8 = registry.load("label-sets", "ravdess8")
    ravdess7 = registry.load("label-sets", "ravdess7")
    basic7 = registry.load("label-sets", "basic7")
    assert ravdess8.labels == CANONICAL_LABELS[:8]
    assert ravdess7.labels == CANONICAL_LABELS[1:8]
    assert ravdess7.index("neutral") is None
    assert basic7.index("calm") == basic7.index("neutral") == 0
    assert [labels.index("love") for labels in (ravdess8, ravdess7, basic7)] == [None] * 3


@pytest.mark.parametrize(
    ("name", "labels", "merged"),
    [
        ("iemocap4", ("angry", "happy", "sad", "neutral"), {"excited": "happy"}),
        (
            "iemocap5",
            ("angry", "happy", "sad", "neutral", "frustrated"),
            {"excited": "happy"},
        ),
        ("iemocap6", ("angry", "happy", "sad", "neutral", "excited", "frustrated"), {}),
        (
            "iemocap6_merged",
            ("angry", "happy", "sad", "fearful", "surprised", "neutral"),
            {"excited": "happy", "frustrated": "sad"},
        ),
        ("emotion6", ("sad", "happy", "love", "angry", "fearful", "surprised"), {}),
        ("tess_emotion5", ("happy", "sad", "angry", "fearful", "surprised"), {}),
    ],
)
def test_label_sets_of_iemocap_and_texts(
    name: str, labels: tuple[str, ...], merged: dict[str, str]
) -> None:
    label_set: LabelSet = registry.load("label-sets", name)
    assert label_set.labels == labels
    assert dict(label_set.merges) == merged


def test_the_usual_four_classes_of_iemocap_are_5531_turns() -> None:
    # Turns of each label in the release.
    turns = {
        "angry": 1103,
        "disgust": 2,
        "excited": 1041,
        "fearful": 40,
        "frustrated": 1849,
        "happy": 595,
        "neutral": 1708,
        "sad": 1084,
        "surprised": 107,
    }
    four: LabelSet = registry.load("label-sets", "iemocap4")
    assert sum(count for label, count in turns.items() if four.index(label) is not None) == 5531
