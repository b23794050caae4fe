"""The guard's measure: which tables of words say something about their labels, and which do not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from affectstream.core import registry
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.corpora.emotion import EMOTION
from affectstream.preprocessing.corpora.filename_corpora import (
    CREMA_D_SENTENCES,
    RAVDESS_LABELS,
    RAVDESS_STATEMENTS,
)
from affectstream.preprocessing.corpora.meld import MELD_TEXT
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.dataset.text_informativeness import (
    MAX_ITEMS,
    TextInformativeness,
    measure_rows,
    measure_texts,
)
from tests.support.factories import row

EMOTIONS = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
MISHEARD = ("the", "a", "by", "door", "kids", "dogs", "bus", "goose", "dose", "or", "cold", "store")

Table = list[tuple[str, str, str]]


def measured(table: Table) -> TextInformativeness:
    texts, labels, groups = zip(*table, strict=True)
    return measure_texts(texts, labels, groups)


def ravdess_like() -> Table:
    """24 speakers, 2 sentences, 8 labels, 2 takes."""
    return [
        (sentence, label, str(speaker))
        for speaker in range(24)
        for sentence in RAVDESS_STATEMENTS.values()
        for label in RAVDESS_LABELS.values()
        for _ in range(2)
    ]


def tess_like() -> Table:
    """2 speakers, 60 words, 7 labels."""
    return [
        (f"Say the word w{word}", label, speaker)
        for speaker in ("OAF", "YAF")
        for word in range(60)
        for label in (*EMOTIONS, "surprised")
    ]


def crema_d_like() -> Table:
    """30 speakers, 12 sentences, 6 labels; one sentence at three intensities, except in neutral."""
    return [
        (sentence, label, str(speaker))
        for speaker in range(30)
        for code, sentence in CREMA_D_SENTENCES.items()
        for label in EMOTIONS
        for _ in range(3 if code == "IEO" and label != "neutral" else 1)
    ]


def misheard(table: Table, share: float, seed: int) -> Table:
    """The table as a transcriber hears it that errs without regard to the label."""
    chance = random.Random(seed)

    def heard(text: str) -> str:
        words = text.split()
        return " ".join(
            chance.choice(MISHEARD) if chance.random() < share else word for word in words
        )

    return [(heard(text), label, group) for text, label, group in table]


def keywords(num: int, num_groups: int = 10) -> Table:
    """A text set in which one word of six tells the label, most of the time."""
    chance = random.Random(0)
    common = [f"w{i}" for i in range(200)]
    table = []
    for number in range(num):
        label = EMOTIONS[number % len(EMOTIONS)]
        key = label if chance.random() < 0.5 else chance.choice(common)
        words = [*chance.choices(common, k=5), key]
        chance.shuffle(words)
        table.append((" ".join(words), label, str(number % num_groups)))
    return table


def rows_of(clips: list[Clip]) -> list[ClipRow]:
    return [
        row(
            clip.key,
            label=clip.label,
            speaker=clip.speaker,
            recording=clip.recording,
            transcript=clip.transcript,
        )
        for clip in clips
    ]


# === Words that say nothing ===


@pytest.mark.parametrize("table", [ravdess_like(), tess_like(), crema_d_like()])
def test_every_sentence_with_every_label_says_nothing(table: Table) -> None:
    found = measured(table)
    assert not found.is_informative
    assert found.uar == pytest.approx(found.chance, abs=1e-6)
    assert found.chance_limit > found.chance + 0.005
    assert found.num_records == len(table)


@pytest.mark.parametrize("share", [0.03, 0.15])
@pytest.mark.parametrize("table", [ravdess_like(), tess_like(), crema_d_like()])
def test_errors_of_recognition_say_nothing(table: Table, share: float) -> None:
    found = measured(misheard(table, share, seed=1))
    assert found.num_sentences > len({text for text, *_ in table})
    assert not found.is_informative


def test_shuffled_labels_of_a_text_set_say_nothing() -> None:
    table = keywords(1200)
    labels = [label for _, label, _ in table]
    random.Random(0).shuffle(labels)
    shuffled = [(text, label, g) for (text, _, g), label in zip(table, labels, strict=True)]
    assert not measured(shuffled).is_informative


def test_a_habit_of_one_speaker_does_not_count() -> None:
    """Each speaker has a word for each label, and no two speakers have the same."""
    chance = random.Random(0)
    table = []
    for speaker in range(20):
        habits = chance.sample(EMOTIONS, len(EMOTIONS))
        for turn in range(30):
            label = EMOTIONS[turn % len(EMOTIONS)]
            text = f"{chance.random()} w{habits.index(label)}"
            table.append((text, label, str(speaker)))
    assert not measured(table).is_informative
    one_side = [(text, label, str(i)) for i, (text, label, _) in enumerate(table[:30] * 6)]
    assert measured(one_side).is_informative


# === Words that say something ===


def test_keywords_say_something() -> None:
    found = measured(keywords(600))
    assert found.is_informative
    assert found.uar is not None
    assert found.uar > 0.4


def test_texts_of_unknown_speakers_each_a_group_of_its_own() -> None:
    assert measured(keywords(600, num_groups=600)).is_informative


def test_a_speaker_for_each_label_is_measured_across_speakers() -> None:
    """Held out by speaker, no label could be learnt; then records are divided without groups."""
    table = [(text, label, label) for text, label, _ in keywords(600)]
    assert measured(table).is_informative


def test_scripts_that_part_no_words_and_emoji() -> None:
    signs = {"happy": "好", "sad": "坏", "angry": "😡"}
    chance = random.Random(0)
    table = []
    for number in range(300):
        label = list(signs)[number % 3]
        letters = [*chance.choices("天地人日月山水火木金", k=9), signs[label]]
        chance.shuffle(letters)
        table.append(("".join(letters), label, str(number)))
    found = measured(table)
    assert found.uar is not None
    assert found.uar > 0.9


@pytest.mark.real
def test_real_emotion_texts_say_something(real_data: Path) -> None:
    clips = EMOTION.build_index(real_data / "text" / "emotion").clips
    found = measure_rows(rows_of([clip for clip in clips if clip.split == "train"]))
    assert found.is_informative
    assert found.num_records == 16_000
    assert found.uar is not None
    assert found.uar > 0.6


@pytest.mark.real
def test_real_meld_utterances_say_something(real_data: Path) -> None:
    clips = MELD_TEXT.build_index(real_data / "text" / "meld").clips
    assert measure_rows(
        rows_of([clip for clip in clips if clip.split == "validation"])
    ).is_informative


@pytest.mark.real
@pytest.mark.parametrize(("corpus", "num_sentences"), [("ravdess", 2), ("tess", 50)])
def test_real_names_say_nothing(real_data: Path, corpus: str, num_sentences: int) -> None:
    clips = registry.load("corpora", corpus).build_index(real_data / corpus).clips
    found = measure_rows(rows_of(list(clips)))
    assert not found.is_informative
    assert found.num_sentences == num_sentences


# === Too little to measure ===


@pytest.mark.parametrize(
    ("table", "informative"),
    [
        (ravdess_like()[:64], False),
        ([(f"i am {label}", label, str(i)) for i in range(10) for label in EMOTIONS], True),
        ([(f"{i} words", EMOTIONS[i % 6], str(i)) for i in range(60)], True),
        ([("yes", label, "one") for label in EMOTIONS for _ in range(50)], False),
        ([], True),
    ],
    ids=["few takes", "a sentence a label", "few texts", "one speaker, one word", "nothing"],
)
def test_too_little_to_measure(table: Table, informative: bool) -> None:
    found = measured(table) if table else measure_texts([], [], [])
    assert found.uar is None
    assert found.is_informative == informative


def test_a_rare_class_is_too_little() -> None:
    table = keywords(600) + [("w1 w2", "love", "1")] * 4
    assert measured(table).uar is None
    assert measured(table).is_informative


# === Rows, order, words for people ===


def test_rows_without_words_copies_and_left_out_ones_take_no_part() -> None:
    told = [
        row(f"x/{i}", label=label, speaker=f"x/{speaker}", transcript=text)
        for i, (text, label, speaker) in enumerate(keywords(240))
    ]
    others = [
        row("x/silent", transcript=" "),
        row("x/copy", transcript="w1", attributes={"copy_of": "x/1"}),
    ]
    assert measure_rows([*told, *others]) == measure_rows(told)
    merged = {
        r.id: "bad" if r.label == "sad" else "other" for r in told if r.label not in ("neutral",)
    }
    found = measure_rows(told, merged)
    assert (found.num_records, found.chance) == (200, 0.5)


def test_one_speaker_is_divided_by_recording() -> None:
    told = [
        row(f"x/{i}", label=label, speaker="x/1", transcript=text)
        for i, (text, label, _) in enumerate(keywords(600))
    ]
    found = measure_rows(told)
    assert found.uar is not None
    assert found.is_informative


def test_neither_order_nor_a_second_time_matters() -> None:
    table = keywords(300)
    again = table.copy()
    random.Random(3).shuffle(again)
    assert measured(table) == measured(table) == measured(again)


def test_no_more_than_so_many_items_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from affectstream.preprocessing.dataset import text_informativeness as module

    assert MAX_ITEMS == 5000
    monkeypatch.setattr(module, "MAX_ITEMS", 120)
    seen = []
    score = module._score

    def counted(items: list[tuple[str, str, str]]) -> tuple[float, float]:
        seen.append(len(items))
        return score(items)

    monkeypatch.setattr(module, "_score", counted)
    found = measured(keywords(600))
    assert (seen, found.num_records) == ([120], 600)


def test_texts_and_labels_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        measure_texts(["a", "b"], ["happy"], ["1"])


def test_explained_in_one_line() -> None:
    assert measured(ravdess_like()).explain() == (
        "2 sentences over 768 records; the words alone give UAR 0.125 where chance gives 0.125"
        " (up to 0.172): they say nothing about the label"
    )
    assert measured(ravdess_like()[:64]).explain() == (
        "2 sentences over 64 records; the sentences repeat and none goes with a label:"
        " they say nothing about the label"
    )
    assert measured(keywords(30)).explain() == (
        "30 sentences over 30 records; too few to measure what the words say about the label"
    )
    assert measured(keywords(600)).explain().endswith(": they say something about the label")
