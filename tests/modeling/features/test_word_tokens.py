"""Words as numbers: how they are parted, which are known, and that a row is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.features.text.tokens import FitTokens
from affectstream.modeling.features.text.word_tokens import (
    WORD_TOKENS,
    WordTokens,
    split_words,
    standardise_words,
)
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.runs.checkpoints import load_model, save_model

LEARNT = ["the cat and the dog", "the cat ran!", "A dog? no"]
HOSTILE = [
    b"",
    b" \t\n ",
    b"!?!?",
    "😡😡 \U0001f44d\U0001f3fd".encode(),
    "我很高兴 привет".encode(),
    b"\xff\xfe caf\xe9 the cat",
    "the cat " * 2500,
]


def model_of(front_end: WordTokens) -> keras.Model:
    inputs = InputSpec().inputs("text")
    features = front_end.connect(inputs, InputSpec())
    return keras.Model(inputs, {"features": features.values, "mask": features.mask})


def numbers(model: keras.Model, texts: list[Any]) -> dict[str, np.ndarray]:
    raw = np.array([t.encode() if isinstance(t, str) else t for t in texts], object)
    made = model({"text": tf.constant(raw)}, training=False)
    return {name: np.asarray(value) for name, value in made.items()}


@pytest.fixture(scope="module")
def front_end() -> WordTokens:
    return WordTokens(max_tokens=12, min_count=1).fitted(LEARNT, "none")


@pytest.fixture(scope="module")
def model(front_end: WordTokens) -> keras.Model:
    return model_of(front_end)


# === Parting ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't, DON’T, don`t", "dont dont dont"),
        ("Really?! NO!!", "really ? ! no ! !"),
        ("so 😡😡mad", "so 😡 😡 mad"),
        ("naïve ÉCOLE Straße", "naïve école straße"),
        ("我很高兴, ok", "我很高兴 ok"),
        ("कि हिन्दी", "कि हिन्दी"),  # marks belong to their letters
        ("3.50€ x_y a-b", "3 50 x y a b"),
        ("a line\nand\t another\r\n", "a line and another"),
        ("", ""),
        (" \t\n ", ""),
        ("... --- ,", ""),
    ],
)
def test_how_a_text_is_parted(text: str, expected: str) -> None:
    assert standardise_words(tf.constant(text)).numpy().decode() == expected


def test_bytes_that_are_no_utf8() -> None:
    made = standardise_words(tf.constant([b"\xff\xfe caf\xe9 ok"])).numpy()[0].decode()
    assert made.split()[-1] == "ok"
    assert "caf" in made.split()


def test_words_of_is_what_the_graph_does() -> None:
    assert list(split_words(["It's GOOD!", "", "我 😡"])) == [
        ["its", "good", "!"],
        [],
        ["我", "😡"],
    ]
    assert len(list(split_words(["one two"] * 5000))) == 5000  # more than are read at a time


# === Vocabulary ===


def test_the_most_frequent_come_first_and_ties_by_letter(front_end: WordTokens) -> None:
    assert front_end.vocabulary == ("the", "cat", "dog", "!", "?", "a", "and", "no", "ran")
    again = WordTokens(min_count=1).fitted(LEARNT[::-1], "none")
    assert again.vocabulary == front_end.vocabulary


def test_rare_words_are_unknown() -> None:
    fitted = WordTokens(min_count=2).fitted(LEARNT, "none")
    assert fitted.vocabulary == ("the", "cat", "dog")
    assert WordTokens(min_count=1, vocabulary_size=2).fitted(LEARNT, "none").vocabulary == (
        "the",
        "cat",
    )
    made = numbers(model_of(fitted), ["the ran dog zebra"])
    assert made["features"].tolist() == [[2, 1, 4, 1, 0, 0, 0, 0]]


def test_no_word_often_enough() -> None:
    for texts in (["one two", "three"], ["", "..."], []):
        with pytest.raises(UserError, match=r"no word occurs 2 times in \d+ training texts; lower"):
            WORD_TOKENS.fitted(texts, "none")


# === Numbers ===


def test_numbers_and_mask(model: keras.Model) -> None:
    made = numbers(model, ["The CAT, and a zebra!", ""])
    assert made["features"].dtype == np.int32
    assert made["features"].tolist() == [[2, 3, 8, 7, 1, 5, 0, 0], [0] * 8]
    assert made["mask"].tolist() == [[True] * 6 + [False] * 2, [False] * 8]


def test_the_end_of_a_long_text_is_cut(model: keras.Model) -> None:
    made = numbers(model, ["the cat " * 2500, "the cat " * 6])["features"]
    assert made.shape == (2, 12)
    assert (made[0] == made[1]).all()
    assert numbers(model, ["the " * 12 + "dog"])["features"].tolist() == [[2] * 12]


def test_a_row_alone_is_the_row_in_its_batch(model: keras.Model) -> None:
    whole = numbers(model, HOSTILE)["features"]
    assert whole.shape == (len(HOSTILE), 12)
    for row, text in enumerate(HOSTILE):
        alone = numbers(model, [text])["features"][0]
        np.testing.assert_array_equal(alone, whole[row, : len(alone)])
        assert not whole[row, len(alone) :].any()
    assert [int(n) for n in (whole > 0).sum(axis=1)] == [0, 0, 4, 3, 2, 6, 12]


def test_only_empty_texts_still_have_width(model: keras.Model) -> None:
    assert numbers(model, ["", " "])["features"].shape == (2, 8)


def test_too_few_tokens() -> None:
    with pytest.raises(ValueError, match="max_tokens must be 8 or more, received 7"):
        FitTokens(7)


# === Saved ===


def test_saved_and_taken_from(model: keras.Model, front_end: WordTokens, tmp_path: Path) -> None:
    save_model(model, tmp_path / "words.keras")
    loaded = load_model(tmp_path / "words.keras")
    for key, value in numbers(loaded, HOSTILE).items():
        np.testing.assert_array_equal(value, numbers(model, HOSTILE)[key])
    assert WordTokens(max_tokens=12, min_count=1).from_model(loaded) == front_end
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="words"):
        WORD_TOKENS.from_model(keras.Model(x, keras.layers.Dense(1)(x)))
