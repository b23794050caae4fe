"""Corpora of text alone: emotion, GoEmotions, MELD's tables, and what is wrong with a row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import Clip, CorpusIndex
from affectstream.preprocessing.content_hash import TEXT_HASH
from affectstream.preprocessing.corpora.emotion import EMOTION
from affectstream.preprocessing.corpora.goemotions import EKMAN_OF, EMOTIONS, GOEMOTIONS
from affectstream.preprocessing.corpora.meld import MELD, MELD_TEXT
from affectstream.preprocessing.corpora.text_table import text_comparison_key, text_hash
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings

ALL = [EMOTION, GOEMOTIONS, MELD_TEXT]
MELD_COLUMNS = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Writes one table below `folder`; returns the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def told(found: CorpusIndex) -> dict[str, tuple[str, str]]:
    return {clip.key: (clip.transcript, clip.label) for clip in found.clips}


def rejected(found: CorpusIndex) -> dict[str, str]:
    return {rejection.path: rejection.reason for rejection in found.rejected}


def fails(corpus: Any, source: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        corpus.build_index(source)
    assert str(caught.value).startswith(str(source))
    assert "\n" not in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []


# === emotion ===


def test_emotion_lines_with_and_without_header(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "text;label_name\ni feel fine;joy\nno;anger\n")
    write(tmp_path, "sub/val.txt", "i am; you are;sadness\r\n\r\nso;surprise")
    write(tmp_path, "test.txt", "text;fear\nmine;love\n")
    found = EMOTION.build_index(tmp_path)
    assert told(found) == {
        "sub/val.txt!1": ("i am; you are", "sad"),
        "sub/val.txt!3": ("so", "surprised"),
        "test.txt!1": ("text", "fearful"),
        "test.txt!2": ("mine", "love"),
        "train.txt!2": ("i feel fine", "happy"),
        "train.txt!3": ("no", "angry"),
    }
    assert not found.rejected
    splits = {clip.name: clip.split for clip in found.clips}
    assert splits == {"sub/val.txt": "validation", "test.txt": "test", "train.txt": "train"}


def test_a_clip_of_text_alone(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "A  Word;joy\n")
    (clip,) = EMOTION.build_index(tmp_path).clips
    assert clip == Clip(
        path=tmp_path / "train.txt",
        name="train.txt",
        corpus="emotion",
        label="happy",
        speaker="",
        recording="emotion/train.txt:1",
        inner="1",
        transcript="A  Word",
        split="train",
        attributes={TEXT_HASH: text_hash("a word")},
        text_only=True,
    )


def test_equal_texts_have_one_hash_whatever_case_and_space() -> None:
    assert text_hash(" I  feel\tFINE ") == text_hash("i feel fine")
    assert text_hash("i feel fine") != text_hash("i feel fine!")
    assert text_comparison_key("ﬁne  STRASSE straße") == "fine strasse strasse"


@pytest.mark.parametrize("name", ["training.csv", "train.csv"])
def test_emotion_csv_of_numbers_quotes_and_line_breaks(tmp_path: Path, name: str) -> None:
    lines = ["label,text", '0,"well, ""no"""', '5,"two\nlines"', "4,plain", "joy,word"]
    found = EMOTION.build_index(write(tmp_path, name, "\n".join(lines)))
    assert told(found) == {
        f"{name}!2": ('well, "no"', "sad"),
        f"{name}!3": ("two\nlines", "surprised"),
        f"{name}!5": ("plain", "fearful"),
        f"{name}!6": ("word", "happy"),
    }
    assert {clip.split for clip in found.clips} == {"train"}


def test_the_six_numbers(tmp_path: Path) -> None:
    rows = [f"t{n},{n}" for n in range(6)]
    found = EMOTION.build_index(write(tmp_path, "test.csv", "\n".join(["text,label", *rows])))
    labels = [clip.label for clip in found.clips]
    assert labels == ["sad", "happy", "love", "angry", "fearful", "surprised"]


def test_other_scripts_emoji_and_odd_line_separators_pass_unchanged(tmp_path: Path) -> None:
    texts = [
        "счастлив 😊👍🏽",
        "我很高兴",
        "سعيد جدا",
        "a\u2028b\x85c",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
    ]
    write(tmp_path, "train.txt", "\ufeff" + "".join(f"{text};joy\n" for text in texts))
    found = EMOTION.build_index(tmp_path)
    assert [clip.transcript for clip in found.clips] == texts


def test_a_very_long_text(tmp_path: Path) -> None:
    (clip,) = EMOTION.build_index(write(tmp_path, "train.txt", "word " * 60_000 + ";joy")).clips
    assert len(clip.transcript) == 299_999


def test_bad_rows_of_emotion_are_named_and_the_others_stay(tmp_path: Path) -> None:
    lines = [
        b"good;joy",
        b"no mark",
        b" ;joy",
        b"x;boredom",
        b"caf\xe9;joy",
        "é😊".encode() + b"\xff;joy",
        b"x;7",
        b"end;",
    ]
    found = EMOTION.build_index(write(tmp_path, "train.txt", b"\n".join(lines)))
    assert [clip.transcript for clip in found.clips] == ["good"]
    reasons = rejected(found)
    assert list(reasons) == [f"train.txt:{line}" for line in range(2, 9)]
    assert "write text;label" in reasons["train.txt:2"]
    assert "an empty text" in reasons["train.txt:3"]
    assert "unknown label 'boredom'; known: sadness, joy" in reasons["train.txt:4"]
    assert "byte 4 of the line is 0xE9" in reasons["train.txt:5"]
    assert "byte 7 of the line is 0xFF" in reasons["train.txt:6"]
    assert "unknown label '7'" in reasons["train.txt:7"]
    assert "unknown label ''" in reasons["train.txt:8"]


def test_bad_rows_of_a_csv(tmp_path: Path) -> None:
    content = b'text,label\n"caf\xe9\nau lait",1\ngood,1\nwell, no,1\nshort\n,1\n"two\nlines",x\n'
    found = EMOTION.build_index(write(tmp_path, "val.csv", content))
    assert [clip.inner for clip in found.clips] == ["4"]
    reasons = rejected(found)
    assert list(reasons) == [f"val.csv:{line}" for line in (2, 5, 6, 7, 8)]
    assert "byte 5 of the line is 0xE9" in reasons["val.csv:2"]
    assert "a quoted text" in reasons["val.csv:5"]
    assert "an empty text" in reasons["val.csv:7"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.txt", b"", ("train.txt", "an empty file")),
        ("train.txt", b"\xef\xbb\xbf \n", ("an empty file",)),
        ("train.txt", "text;joy\n".encode("utf-16"), ("UTF-16 text; save it as UTF-8",)),
        ("train.txt", b"a,joy\n", ("none of 1 row", "first: train.txt:1")),
        ("train.txt", b"text;label\n", ("none of 0 rows is one of emotion",)),
        ("train.csv", b"text,emotion\na,1\n", ("column label missing (has text, emotion)",)),
        ("train.csv", b'text,label\na,1\n"open,1\n', ("train.csv:3: no CSV", "close it")),
        ("train.csv", b"text,label\n", ("none of 0 rows",)),
        ("other.txt", b"a;joy\n", ("no table of emotion", "looked for train.txt")),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    fails(EMOTION, write(tmp_path, name, content), *words)


def test_two_tables_for_one_part(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "a;joy\n")
    write(tmp_path, "old/training.csv", "text,label\na,1\n")
    fails(EMOTION, tmp_path, "two tables for one part: old/training.csv and train.txt")


# === GoEmotions ===


def test_goemotions_labels_of_one_class_of_ekman(tmp_path: Path) -> None:
    lines = [
        'He said "no"\t3\ted00001',
        "Thanks, wow 😩\t0,15\ted00002",
        "Hm\t27\ted00003",
        "Sad, and yet\t25,15\ted00004",
        "Well\t27,4\ted00005",
        '"""I didn\'t"" Oh\t14,19\ted00006',
    ]
    write(tmp_path, "data/dev.tsv", "\n".join(lines))
    found = GOEMOTIONS.build_index(tmp_path)
    assert told(found) == {
        "data/dev.tsv!1": ('He said "no"', "angry"),
        "data/dev.tsv!2": ("Thanks, wow 😩", "happy"),
        "data/dev.tsv!3": ("Hm", "neutral"),
        "data/dev.tsv!6": ('"""I didn\'t"" Oh', "fearful"),
    }
    assert found.skipped == {"labels of more than one class of Ekman": 2}
    assert not found.rejected
    clip = found.clips[1]
    assert (clip.split, clip.recording, clip.text_only) == (
        "validation",
        "goemotions/ed00002",
        True,
    )
    assert clip.attributes == {
        "emotions": "admiration gratitude",
        TEXT_HASH: text_hash("thanks, wow 😩"),
    }


def test_the_28_classes_and_their_seven(tmp_path: Path) -> None:
    assert len(EMOTIONS) == len(set(EMOTIONS)) == len(EKMAN_OF) == 28
    assert (EMOTIONS[0], EMOTIONS[17], EMOTIONS[27]) == ("admiration", "joy", "neutral")
    write(tmp_path, "train.tsv", "".join(f"t\t{n}\tid{n}\n" for n in range(28)))
    counts = Counter(clip.label for clip in GOEMOTIONS.build_index(tmp_path).clips)
    assert counts == {
        "happy": 12,
        "sad": 5,
        "surprised": 4,
        "angry": 3,
        "fearful": 2,
        "disgust": 1,
        "neutral": 1,
    }


def test_bad_rows_of_goemotions(tmp_path: Path) -> None:
    lines = [
        "good\t27\tid1",
        "two cells\t27",
        "x\t28\tid2",
        "x\tjoy\tid3",
        "\t27\tid4",
        "a\tb\t27\tid5",
        "x\t27\t",
    ]
    content = "\n".join(lines).encode() + b"\ncaf\xe9\t27\tid6\n"
    found = GOEMOTIONS.build_index(write(tmp_path, "test.tsv", content))
    assert [clip.transcript for clip in found.clips] == ["good"]
    reasons = rejected(found)
    assert list(reasons) == [f"test.tsv:{line}" for line in range(2, 9)]
    assert "2 cells where text, label numbers and comment id" in reasons["test.tsv:2"]
    assert "unknown label '28'; expected numbers 0-27" in reasons["test.tsv:3"]
    assert "unknown label 'joy'" in reasons["test.tsv:4"]
    assert "an empty text" in reasons["test.tsv:5"]
    assert "byte 4 of the line is 0xE9" in reasons["test.tsv:8"]


# === MELD's tables alone ===


def meld(folder: Path, *rows: str, name: str = "train_sent_emo.csv") -> Path:
    content = "\n".join([MELD_COLUMNS, *rows])
    return write(folder, name, content.encode("utf-8", errors="surrogateescape"))


def test_an_utterance_without_its_clip(tmp_path: Path) -> None:
    meld(tmp_path, '1,"You\udc92ve ""won"",\nRoss",Joey,joy,positive,4,2,8,21')
    meld(tmp_path, "1,Okay.,Ross,fear,negative,4,2,1,2", name="sub/dev_sent_emo.csv")
    dev, train = MELD_TEXT.build_index(tmp_path).clips
    assert (train.transcript, train.label) == ('You’ve "won",\nRoss', "happy")
    assert (train.name, train.path) == ("train_sent_emo.csv", tmp_path / "train_sent_emo.csv")
    assert (train.speaker, train.recording) == ("meld/Joey", "meld/train/dia4_utt2")
    assert (train.split, dev.split) == ("train", "validation")
    assert (train.text_only, train.corpus, MELD_TEXT.name) == (True, "meld", "meld")
    assert dev.attributes == {
        "part": "dev",
        "dialogue": "dev/4",
        "sentiment": "negative",
        "season": "1",
        "episode": "2",
    }


def test_bad_rows_of_meld(tmp_path: Path) -> None:
    found = MELD_TEXT.build_index(
        meld(
            tmp_path,
            "1,Okay.,Ross,fear,x,0,0,1,1",
            "2,,Ross,fear,x,0,1,1,1",
            "3,Hm.,Ross,bored,x,0,2,1,1",
            "4,Hm.,Ross,fear,x,zero,3,1,1",
            "5,Again.,Ross,fear,x,0,0,1,1",
        )
    )
    assert told(found) == {"train_sent_emo.csv!2": ("Okay.", "fearful")}
    reasons = rejected(found)
    assert "an empty Utterance" in reasons["train_sent_emo.csv:3"]
    assert "unknown emotion 'bored'" in reasons["train_sent_emo.csv:4"]
    assert "not numbers" in reasons["train_sent_emo.csv:5"]
    assert "another row has the same dialogue and utterance" in reasons["train_sent_emo.csv:6"]


def test_a_table_of_meld_that_cannot_be_used(tmp_path: Path) -> None:
    source = write(tmp_path, "train_sent_emo.csv", "Utterance,Speaker\nHi.,Ross\n")
    fails(MELD_TEXT, source, "column Emotion, Dialogue_ID, Utterance_ID missing")
    fails(MELD_TEXT, write(tmp_path / "b", "dev_sent_emo.csv", ""), "missing (has none)")


# === All of them ===


@pytest.mark.parametrize("corpus", ALL)
def test_says_that_it_holds_texts_only(corpus: Any) -> None:
    assert (corpus.text_only, corpus.official_split, corpus.synthetic) == (True, True, False)
    assert corpus.licence
    assert corpus.citation


@pytest.mark.parametrize("corpus", ALL)
def test_a_folder_of_recordings_is_recognised(corpus: Any, tmp_path: Path) -> None:
    write(tmp_path, "Actor_01/03-01-05-01-01-01-01.wav", b"")
    fails(corpus, tmp_path, "it looks like ravdess: use --corpus ravdess")


def test_texts_of_another_corpus_are_recognised(tmp_path: Path) -> None:
    write(tmp_path / "a", "train.txt", "a;joy\n")
    fails(GOEMOTIONS, tmp_path / "a", "it looks like emotion: use --corpus emotion")
    write(tmp_path / "b", "dev.tsv", "a\t27\tid\n")
    fails(EMOTION, tmp_path / "b", "it looks like goemotions: use --corpus goemotions")
    meld(tmp_path / "c", "1,Okay.,Ross,fear,x,0,0,1,1")
    fails(EMOTION, tmp_path / "c", "it looks like meld_text: use --corpus meld_text")
    fails(MELD, tmp_path / "c", "tables of MELD but no clip", "--corpus meld_text")


@pytest.mark.parametrize("corpus", ALL)
def test_a_row_becomes_a_record_of_text_alone(corpus: Any, tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "Привет 😊;joy\n")
    write(tmp_path, "train.tsv", "Привет 😊\t17\tid\n")
    meld(tmp_path, "1,Привет 😊,Ross,joy,x,0,0,1,1")
    (clip,) = corpus.build_index(tmp_path).clips
    (record,) = RecordBuilder(RecordSettings("none")).records(clip)
    assert (record.transcript, record.label) == ("Привет 😊", "happy")
    assert (len(record.waveform), len(record.faces)) == (0, 0)
    assert (record.audio_hash, record.video_hash) == ("", "")
    wanted = "" if corpus is MELD_TEXT else text_hash("привет 😊")
    assert record.attributes.get(TEXT_HASH, "") == wanted


@pytest.mark.parametrize("corpus", ALL)
def test_neither_folder_nor_table(corpus: Any, tmp_path: Path) -> None:
    fails(corpus, tmp_path / "absent", "no such folder")
    fails(corpus, write(tmp_path, "train.txt", "a;joy\n") / "train.txt", "not a folder")
    fails(corpus, write(tmp_path / "other", "readme.md", "x"), "check --corpus")


# === The real tables ===


@pytest.mark.real
def test_the_real_emotion_tables(real_data: Path) -> None:
    found = EMOTION.build_index(real_data / "text" / "emotion")
    assert Counter(clip.split for clip in found.clips) == {"train": 16_000, "validation": 2000}
    assert not found.rejected
    train = Counter(clip.label for clip in found.clips if clip.split == "train")
    assert train == {
        "happy": 5362,
        "sad": 4666,
        "angry": 2159,
        "fearful": 1937,
        "love": 1304,
        "surprised": 572,
    }


@pytest.mark.real
def test_the_real_meld_tables(real_data: Path) -> None:
    found = MELD_TEXT.build_index(real_data / "text" / "meld")
    assert Counter(clip.split for clip in found.clips) == {"train": 9989, "validation": 1109}
    assert not found.rejected
    assert len({clip.label for clip in found.clips}) == 7
    for clip in found.clips:
        assert not any(0x80 <= ord(c) < 0xA0 or 0xDC80 <= ord(c) < 0xDD00 for c in clip.transcript)
