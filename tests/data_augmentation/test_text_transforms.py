"""Transforms of text: exact values for fixed parameters, and what they leave alone."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from affectstream.data_augmentation.chain import Chain
from affectstream.data_augmentation.text.typo import NEIGHBOURS, Typo
from affectstream.data_augmentation.text.word_dropout import WordDropout
from affectstream.data_augmentation.text.word_swap import WordSwap
from affectstream.data_augmentation.text.word_tokens import TokenizedText, normalize_text

ALL = (WordDropout, WordSwap, Typo)
SENTENCE = "I really like the long walks, and the dogs too!"
HARD = (
    "",
    " \n\t ",
    "a",
    "...",
    "😀",
    "😀 👩‍👩‍👧 ❤️ 👍🏽",
    "ok then",
    "ha ha ha ha",
    "  spaces \n and\tlines  ",
    "(He) said: “go”! :-) :D ¿qué?",
    "Я очень рад тебя видеть сегодня",
    "मैं आज बहुत खुश हूँ",
    "我今天 很高兴 见到你",
    "أنا سعيد جدا اليوم،",
    "e\u0301te\u0301 nai\u0308ve cafe\u0301",
    "x" * 3000,
    "null\x00byte and \u200b zero width",
)


# === Words ===


@pytest.mark.parametrize("text", [*HARD, SENTENCE])
def test_a_text_comes_back_from_its_pieces(text: str) -> None:
    words = TokenizedText.of(text)
    assert str(words) == text
    assert len(words.words) == len(text.split())
    assert len(words.gaps) == len(words.words) + 1


def test_marks_stand_around_words_and_emoticons_are_whole() -> None:
    pieces = TokenizedText.of("(Great), 'he' said: go! :) 😀! #x I'm ...").words
    assert [(w.before, w.core, w.after) for w in pieces] == [
        ("(", "Great", "),"),
        ("'", "he", "'"),
        ("", "said", ":"),
        ("", "go", "!"),
        ("", ":)", ""),
        ("", "😀!", ""),
        ("", "#x", ""),
        ("", "I'm", ""),
        ("", "...", ""),
    ]


def test_bare_texts_say_the_same() -> None:
    assert normalize_text(" Hello,  WORLD! ") == normalize_text("hello world") == "hello world"
    assert normalize_text("Straße") == normalize_text("STRASSE")
    assert normalize_text("hello 😀") != normalize_text("hello")
    assert normalize_text(":)") != normalize_text(":(")


# === Exact values ===


@pytest.mark.parametrize(
    ("text", "dropped", "left"),
    [
        (SENTENCE, [1, 4], "I like the walks, and the dogs too!"),
        ("Hello, world!", [1], "Hello!"),
        ("Hello, world!", [0], "world!"),
        ('He "really" left. Now go', [1, 2], "He. Now go"),
        ("  a b\n\nc  ", [1], "  a\n\nc  "),
        ("a b", [], "a b"),
    ],
)
def test_word_dropout_has_exact_values_at_fixed_parameters(
    text: str, dropped: list[int], left: str
) -> None:
    assert WordDropout().apply(text, dropped=dropped) == left


@pytest.mark.parametrize(
    ("text", "swaps", "result"),
    [
        ("I like dogs.", [[0, 1]], "like I dogs."),
        ("I like (small) dogs.", [[2, 3]], "I like (dogs) small."),
        ("a b c", [[0, 1], [1, 2]], "b c a"),
        ("so  good 😀", [[0, 2]], "😀  good so"),
        ("a b", [], "a b"),
    ],
)
def test_word_swap_has_exact_values_at_fixed_parameters(
    text: str, swaps: list[list[int]], result: str
) -> None:
    assert WordSwap().apply(text, swaps=swaps) == result


@pytest.mark.parametrize(
    ("slips", "result"),
    [
        ([[1, 0, "swap", ""]], "Very ahppy, (today)!"),
        ([[1, 0, "drop", ""]], "Very appy, (today)!"),
        ([[2, 4, "double", ""]], "Very happy, (todayy)!"),
        ([[0, 0, "neighbour", "B"], [2, 0, "neighbour", "r"]], "Bery happy, (roday)!"),
        ([], "Very happy, (today)!"),
    ],
)
def test_typo_has_exact_values_at_fixed_parameters(slips: list[list[Any]], result: str) -> None:
    assert Typo().apply("Very happy, (today)!", slips=slips) == result


def test_keys_that_touch() -> None:
    assert set(NEIGHBOURS["g"]) == set("tyfhvb")
    assert set(NEIGHBOURS["q"]) == set("wa")
    assert all(a in NEIGHBOURS[b] for a, keys in NEIGHBOURS.items() for b in keys)
    assert len(NEIGHBOURS) == 26


# === What is drawn ===


@pytest.mark.parametrize("made", ALL)
@pytest.mark.parametrize("text", HARD)
def test_nothing_is_emptied_in_any_script(made: Any, text: str) -> None:
    transform = made()
    for seed in range(10):
        drawn = transform.sample(np.random.default_rng(seed), text)
        result = transform.apply(text, **drawn)
        assert bool(result.strip()) is bool(text.strip())
        result.encode()
        if made is WordSwap:
            assert Counter(result) == Counter(text)
        if made is Typo:
            assert TokenizedText.of(result).gaps == TokenizedText.of(text).gaps


def test_emoji_and_marked_letters_have_no_typo() -> None:
    for text in ("😀😀😀 👩‍👩‍👧👩‍👩‍👧 123456", "e\u0301e\u0301e\u0301"):
        for seed in range(10):
            assert Typo(share=1.0).sample(np.random.default_rng(seed), text) == {"slips": []}
    cyrillic = Typo(share=1.0).sample(np.random.default_rng(0), "Привет дорогой друг")["slips"]
    assert len(cyrillic) == 3
    assert "neighbour" not in {kind for _, _, kind, _ in cyrillic}


def test_shares_are_kept() -> None:
    text = " ".join(f"word{n}abc" for n in range(1000))
    rng = np.random.default_rng(4)
    assert len(WordDropout(share=0.2).sample(rng, text)["dropped"]) == pytest.approx(200, abs=45)
    assert len(WordSwap(share=0.05).sample(rng, text)["swaps"]) == 50
    beside = WordSwap(share=0.05, neighbours_only=True).sample(rng, text)["swaps"]
    assert len(beside) == 50
    assert all(second - first == 1 for first, second in beside)
    slips = Typo(share=0.3).sample(rng, text)["slips"]
    assert len(slips) == len({index for index, *_ in slips}) == 300
    assert {kind for _, _, kind, _ in slips} == {"swap", "drop", "double", "neighbour"}
    short = [WordDropout(share=0.0).sample(rng, "one two three")["dropped"] for _ in range(20)]
    assert {len(dropped) for dropped in short} == {1}
    most = [WordDropout(share=0.9).sample(rng, "one two")["dropped"] for _ in range(20)]
    assert {len(dropped) for dropped in most} == {1}


def test_swapped_words_differ() -> None:
    rare = "the " * 200 + "end"
    for neighbours_only in (False, True):
        swap = WordSwap(neighbours_only=neighbours_only, share=0.01)
        for seed in range(5):
            drawn = swap.sample(np.random.default_rng(seed), rare)
            assert drawn["swaps"]
            assert swap.apply(rare, **drawn) != rare


def test_short_words_are_spared() -> None:
    for seed in range(10):
        slips = Typo(share=1.0, min_letters=5).sample(np.random.default_rng(seed), SENTENCE)
        assert [index for index, *_ in slips["slips"]] == [1, 5]
    assert Typo(min_letters=50).sample(np.random.default_rng(0), SENTENCE) == {"slips": []}


@pytest.mark.parametrize("made", ALL)
def test_a_very_long_text_takes_no_time(made: Any) -> None:
    text = "some words that go on " * 20_000
    before_s = time.perf_counter()
    chain = Chain((made(probability=1.0),))
    assert chain(text, None, (0, "a")) != text
    assert time.perf_counter() - before_s < 20.0


# === What is refused ===


@pytest.mark.parametrize(
    ("made", "parameters", "said"),
    [
        (WordDropout, {"dropped": [0, 1]}, "word_dropout would leave nothing"),
        (WordDropout, {"dropped": [2]}, "no word 2 in a text of 2"),
        (WordSwap, {"swaps": [[0, -1]]}, "no word -1"),
        (Typo, {"slips": [[5, 0, "drop", ""]]}, "no word 5"),
        (Typo, {"slips": [[0, 4, "swap", ""]]}, "no letter 4 to swap in 'Hello'"),
        (Typo, {"slips": [[0, 0, "melt", ""]]}, "kind must be one of swap, .*'melt'"),
    ],
)
def test_parameters_that_do_not_fit(made: Any, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made().apply("Hello, world!", **parameters)


@pytest.mark.parametrize(
    ("made", "fields", "said"),
    [
        (WordDropout, {"share": 1.0}, "share.*1.0"),
        (WordSwap, {"share": -0.1}, "share.*-0.1"),
        (Typo, {"share": float("nan")}, "share.*nan"),
        (Typo, {"min_letters": 1}, "min_letters.*1"),
    ],
)
def test_wrong_fields_are_refused(made: Any, fields: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**fields)
