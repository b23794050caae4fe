"""Word pieces as BERT's reference parts them, and where the vocabulary comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.features.text.wordpieces import WORD_PIECES, WordPieces
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.runs.checkpoints import load_model, save_model

SMALL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "feel", "##ing", "##s", "good", "!"]
PLAIN = [
    "I was feeling unbelievably good today, wasn't I?!",
    "email me@example.com -- 3.14 (approx.) #tag $5",
    "MIXED Case WoRds and    spaces\tand\nlines",
    "他很高兴 hello",
    "transmogrification",
    "x" * 150,
    "",
    "😡 ok 👍",
]


def model_of(front_end: WordPieces) -> keras.Model:
    inputs = InputSpec().inputs("text")
    features = front_end.connect(inputs, InputSpec())
    return keras.Model(inputs, {"features": features.values, "mask": features.mask})


def numbers(model: keras.Model, texts: list[Any]) -> np.ndarray:
    raw = np.array([t.encode() if isinstance(t, str) else t for t in texts], object)
    return np.asarray(model({"text": tf.constant(raw)}, training=False)["features"])


def pieces_of(front_end: WordPieces, text: str | bytes) -> list[str]:
    return [front_end.pieces[i] for i in numbers(model_of(front_end), [text])[0] if i]


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(SMALL) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small(small_file: Path) -> WordPieces:
    return WordPieces(max_tokens=10, vocabulary=str(small_file)).fitted([], "none")


@pytest.fixture(scope="module")
def real(real_models: Path) -> WordPieces:
    vocabulary = real_models / "bert" / "vocab.txt"
    return WordPieces(max_tokens=64, vocabulary=str(vocabulary)).fitted([], "none")


# === Against BERT ===


def test_equal_to_keras_hub(real: WordPieces) -> None:
    assert len(real.pieces) == 30_522
    reference = keras_hub.tokenizers.BertTokenizer(list(real.pieces), lowercase=True)
    made = numbers(model_of(real), PLAIN)
    for text, row in zip(PLAIN, made, strict=True):
        theirs = np.asarray(reference(text)).tolist()
        begin, end = real.pieces.index("[CLS]"), real.pieces.index("[SEP]")
        assert [i for i in row if i] == [begin, *theirs, end], text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Known of BERT's own tokeniser, uncased.
        ("naïve", ["naive"]),
        ("Ça va, ÉCOLE", ["ca", "va", ",", "ecole"]),
        ("unaffable", ["una", "##ffa", "##ble"]),
        ("embeddings", ["em", "##bed", "##ding", "##s"]),
        ("ok 😡", ["ok", "[UNK]"]),
    ],
)
def test_what_is_known_of_bert(real: WordPieces, text: str, expected: list[str]) -> None:
    assert pieces_of(real, text) == ["[CLS]", *expected, "[SEP]"]


# === Rows ===


def test_rows_begin_and_end_and_are_cut(small: WordPieces) -> None:
    model = model_of(small)
    made = numbers(model, ["I feel good!", "", "feelings " * 2500])
    assert made.dtype == np.int32
    assert made.tolist() == [
        [2, 5, 6, 9, 10, 3, 0, 0, 0, 0],
        [2, 3, 0, 0, 0, 0, 0, 0, 0, 0],
        [2, 6, 7, 8, 6, 7, 8, 6, 7, 3],  # the end is [SEP] here too
    ]
    mask = np.asarray(model({"text": tf.constant([b"I feel good!"])})["mask"])
    assert mask.tolist() == [[True] * 6 + [False] * 2]


def test_word_pieces_of_bytes_that_are_no_text_are_unknown(small: WordPieces) -> None:
    made = numbers(model_of(small), [b"\xff\xfe good", b"caf\xe9", " \t\n "])
    assert made[0, :4].tolist() == [2, 1, 9, 3]
    assert made[1, :3].tolist() == [2, 1, 3]
    assert made[2, :3].tolist() == [2, 3, 0]


def test_a_row_alone_is_the_row_in_its_batch(small: WordPieces) -> None:
    model = model_of(small)
    whole = numbers(model, PLAIN)
    for row, text in enumerate(PLAIN):
        alone = numbers(model, [text])[0]
        np.testing.assert_array_equal(alone, whole[row, : len(alone)])
        assert not whole[row, len(alone) :].any()


def test_cased_word_pieces_keep_capitals(small: WordPieces) -> None:
    cased = dataclasses.replace(small, lowercase=False)
    assert pieces_of(cased, "I feel good") == ["[CLS]", "[UNK]", "feel", "good", "[SEP]"]
    assert pieces_of(small, "I feel good") == ["[CLS]", "i", "feel", "good", "[SEP]"]


# === Vocabulary ===


def test_a_file_is_taken_line_by_line(tmp_path: Path) -> None:
    """Pieces may be signs that other readers take for the end of a line."""
    pieces = [*SMALL, "\u2028", "\u0085", "end"]
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(pieces).encode() + b"\r\n")
    fitted = WordPieces(vocabulary=str(tmp_path / "vocab.txt")).fitted([], "none")
    assert fitted.pieces == tuple(pieces)


def test_a_learnt_vocabulary() -> None:
    texts = ["I feel happy today", "i FELT so happy", "naïve and happy"] * 20
    fitted = WordPieces(vocabulary_size=60).fitted(texts, "none")
    assert fitted.pieces[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert len(fitted.pieces) <= 60
    assert len(set(fitted.pieces)) == len(fitted.pieces)
    assert fitted == WordPieces(vocabulary_size=60).fitted(texts, "none")
    assert not [piece for piece in fitted.pieces[5:] if piece != piece.lower() or "ï" in piece]
    said = pieces_of(fitted, "Happy naïve")
    assert "[UNK]" not in said
    assert said[1] == "happy"
    assert pieces_of(fitted, "quiz")[1:-1] == ["[UNK]"]


def test_a_file_is_not_learnt_over(small: WordPieces) -> None:
    assert small.pieces == tuple(SMALL)
    assert small.fitted(["other words entirely"] * 9, "none").pieces == small.pieces


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "vocab.txt: "),
        (b"hello\nworld\n", "no vocabulary of BERT, it lacks [PAD], [UNK], [CLS], [SEP]"),
        (b"[UNK]\n[PAD]\n[CLS]\n[SEP]\n", "[PAD] must be its first line"),
        (b"[PAD]\n\xff\xfe\n", "not UTF-8 text"),
        (b"", "it lacks [PAD]"),
    ],
)
def test_files_that_are_no_vocabulary(content: bytes | None, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        WordPieces(vocabulary=str(path)).fitted(["a b"], "none")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message


def test_nothing_to_learn_from() -> None:
    with pytest.raises(UserError, match="no vocabulary can be learnt: none of 2 training texts"):
        WORD_PIECES.fitted(["", "  "], "none")


# === Saved ===


def test_saved_and_taken_from(small: WordPieces, tmp_path: Path) -> None:
    model = model_of(dataclasses.replace(small, lowercase=False))
    save_model(model, tmp_path / "pieces.keras")
    loaded = load_model(tmp_path / "pieces.keras")
    np.testing.assert_array_equal(numbers(loaded, PLAIN), numbers(model, PLAIN))
    own = dataclasses.replace(small, pieces=(), lowercase=True)
    assert own.from_model(loaded) == dataclasses.replace(small, lowercase=False)
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="pieces"):
        WORD_PIECES.from_model(keras.Model(x, keras.layers.Dense(1)(x)))
