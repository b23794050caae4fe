"""TF-IDF in the graph against scikit-learn's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer

from affectstream.core.errors import UserError
from affectstream.modeling.features.text.tfidf import TFIDF, Tfidf
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.runs.checkpoints import load_model, save_model

NUM_REAL = 3000
PARTS = (
    *("the", "cat", "Sat", "on", "a", "mat", "and", "THE", "dog", "I", "don't", "x_y", "1st"),
    *(
        "naïve",
        "ÉCOLE",
        "привет",
        "МИР",
        "我很",
        "高兴",
        "😡",
        "👍🏽",
        "!",
        "...",
        "٣٤",
        "हिन्दी",
        "Σας",
    ),
)


def synthetic(num_texts: int = 400) -> list[str]:
    """Texts of several scripts, with emoji, signs and empty rows."""
    rng = np.random.default_rng(3)
    made = [" ".join(rng.choice(PARTS, rng.integers(0, 12))) for _ in range(num_texts)]
    return [*made, "", "   ", "the" * 40, "the cat " * 2500]


def model_of(front_end: Tfidf) -> keras.Model:
    inputs = InputSpec().inputs("text")
    return keras.Model(inputs, front_end.connect(inputs, InputSpec()).values)


def values(model: keras.Model, texts: list[Any]) -> np.ndarray:
    raw = np.array([t.encode() if isinstance(t, str) else t for t in texts], object)
    return np.asarray(model({"text": tf.constant(raw)}, training=False))


def assert_as_scikit_learn(learnt: list[str], asked: list[str]) -> None:
    reference = TfidfVectorizer(ngram_range=(1, 2), min_df=5, sublinear_tf=True).fit(learnt)
    fitted = TFIDF.fitted(learnt, "none")
    assert fitted.terms == tuple(reference.get_feature_names_out())
    expected = reference.transform(asked).toarray()
    assert expected.any()
    np.testing.assert_allclose(values(model_of(fitted), asked), expected, atol=1e-6)


def test_equal_on_real_posts(real_data: Path) -> None:
    path = real_data / "text" / "emotion" / "train.txt"
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").rpartition(";")[0] for line in list(file)[1 : NUM_REAL + 301]]
    assert_as_scikit_learn(rows[:NUM_REAL], rows[: NUM_REAL + 300 : 7] + rows[NUM_REAL:])


def test_equal_on_other_scripts_emoji_and_empty_rows() -> None:
    texts = synthetic()
    assert_as_scikit_learn(texts, texts)


def test_worked_out_by_hand() -> None:
    fitted = Tfidf(max_ngram=1, min_df=1).fitted(["aa bb", "aa aa cc"], "none")
    assert fitted.terms == ("aa", "bb", "cc")
    rare = np.log(3 / 2) + 1
    np.testing.assert_allclose(fitted.idf, [1, rare, rare], rtol=1e-12)
    made = values(model_of(fitted), ["aa aa cc", "bb zz", "zz", ""])
    row = np.array([1 + np.log(2), 0, rare])
    np.testing.assert_allclose(made[0], row / np.linalg.norm(row), atol=1e-6)
    assert made[1:].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_terms_come_from_the_training_part_only() -> None:
    fitted = Tfidf(min_df=1).fitted(["good day"], "none")
    assert fitted.terms == ("day", "good", "good day")
    assert not values(model_of(fitted), ["unseen words here"]).any()


def test_tfidf_keeps_the_terms_that_its_settings_allow() -> None:
    texts = ["one two three", "one two", "one"]
    assert Tfidf(max_ngram=1, min_df=2).fitted(texts, "none").terms == ("one", "two")
    assert Tfidf(max_ngram=1, min_df=1, max_terms=1).fitted(texts, "none").terms == ("one",)


def test_columns_of_a_table_and_what_is_stored_beside_it() -> None:
    fitted = Tfidf(max_ngram=1, min_df=1).fitted(["good day"], "none")
    assert fitted.names == ("tfidf day", "tfidf good")
    stored = json.loads(json.dumps(fitted.as_fields()))
    assert dataclasses.replace(TFIDF.with_fields(stored), min_df=1) == fitted


@pytest.mark.parametrize("texts", [["", " "], ["one", "two"], ["... !"] * 9])
def test_no_term_often_enough(texts: list[str]) -> None:
    with pytest.raises(UserError, match=r"no term stands in 5 of \d training texts; lower it"):
        TFIDF.fitted(texts, "none")


def test_bytes_that_are_no_utf8() -> None:
    model = model_of(Tfidf(min_df=1).fitted(["good day"], "none"))
    made = values(model, [b"\xff good \xfe", "good"])
    np.testing.assert_allclose(made[0], made[1])


def test_saved_and_taken_from(tmp_path: Path) -> None:
    texts = synthetic(60)
    fitted = TFIDF.fitted(texts, "none")
    model = model_of(fitted)
    save_model(model, tmp_path / "tfidf.keras")
    loaded = load_model(tmp_path / "tfidf.keras")
    np.testing.assert_allclose(values(loaded, texts), values(model, texts), atol=1e-7)
    taken = TFIDF.from_model(loaded)
    assert taken == fitted
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="terms"):
        TFIDF.from_model(keras.Model(x, keras.layers.Dense(1)(x)))
