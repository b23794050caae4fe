"""`predict` on words: typed, from files, heard by a transcriber, alone or beside other streams."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
    MediaError,
)
from affectstream.opencv_model.weights import CACHE_VARIABLE
from affectstream.preprocessing.speech_to_text.transcriber import (
    NoSpeechRecognizedError,
    TranscriptionFailedError,
)
from affectstream.serving import Recognizer, load
from affectstream.serving.inference.prediction import Prediction
from tests.support.factories import tone, write_sound
from tests.support.models import LABELS, records, run, settings, train, write_data

pytestmark = pytest.mark.slow

KEYS = {
    *("path", "duration_s", "label", "probabilities", "streams"),
    *("face_coverage", "sound_coverage", "speech_share", "known_word_share"),
    *("windows", "warnings"),
}

UNHEARD = "no speech in any of the sound: the voice answer means little"  # of a tone


class Fake:
    """Hears the same words in every sound, and none in silence; counts what it is asked."""

    name = "fake"
    packages: ClassVar[tuple[str, ...]] = ()
    answer: ClassVar[str | Exception] = "furious shout"
    asked: ClassVar[list[int]] = []

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        assert pcm.dtype == np.int16
        if not pcm.any():
            raise NoSpeechRecognizedError
        Fake.asked.append(len(pcm))
        if isinstance(Fake.answer, Exception):
            raise Fake.answer
        return Fake.answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Fake]:
    """`Fake` in the place of sphinx, and a cache of its own."""
    monkeypatch.setattr(Fake, "answer", "furious shout")
    monkeypatch.setattr(Fake, "asked", [])
    entry = registry.Entry("tests.serving.inference.test_text_predict:Fake", "fake")
    monkeypatch.setitem(registry.TABLE["transcribers"], "sphinx", entry)
    monkeypatch.setitem(
        sys.modules, "tests.serving.inference.test_text_predict", sys.modules[__name__]
    )
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return Fake


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows the words of `tests.support.models` well."""
    folder = tmp_path_factory.mktemp("text")
    made = records(num_takes=4, streams=("audio", "text"))
    data = write_data(folder / "data", made)
    small = settings("token_dim=16", "filters=16", "embedding_dim=16", "learning_rate=0.02")
    words = ("--epochs", 16, "--batch-size", 4, *small, *settings("transforms="))
    assert train(folder / "run", *words, stream="text", data=data) == EXIT_OK
    return folder / "run"


@pytest.fixture(scope="module")
def fused_run(text_run: Path, audio_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words beside sound."""
    out = tmp_path_factory.mktemp("fused") / "run"
    parts = ("--audio-run", audio_run, "--text-run", text_run)
    data = text_run.parent / "data"
    assert train(out, *parts, "--set", "fusion=sum", stream="fusion", data=data) == EXIT_OK
    return out


@pytest.fixture(scope="module")
def recognizer(text_run: Path) -> Recognizer:
    return load(text_run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inputs")
    growing = tone(5.8) * np.linspace(0.3, 1, 92_800, dtype=np.float32)  # no two windows alike
    write_sound(out / "voice.wav", growing, 16_000)
    write_sound(out / "silent.wav", np.zeros(32_000, np.float32), 16_000)
    (out / "lines.txt").write_bytes(
        "\ufefffurious shout\r\n\r\n  \t\nlonely tears\nunexpected 😡 wow\n".encode()
    )
    (out / "latin.txt").write_bytes(b"caf\xe9 wow\n")
    (out / "empty.txt").touch()
    (out / "blank.txt").write_text("\n  \n\t\n")
    (out / "folder.txt").mkdir()
    return out


def asked(
    capfd: pytest.CaptureFixture[str], *words: object, code: int = EXIT_OK
) -> list[dict[str, Any]]:
    """The lines of `predict --json`."""
    capfd.readouterr()
    assert run("predict", *words, "--json") == code
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


# === Words alone ===


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("furious shout again", "angry"),
        ("LONELY, tears!!", "sad"),
        ("wonderful 😡 laugh 我", "happy"),
        ("rotten filthy " * 2500, "disgust"),
        ("-- unexpected\nwow", "surprised"),
    ],
)
def test_words_alone(
    text: str, label: str, text_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (answer,) = asked(capfd, "--model", text_run, "--text", text)
    assert set(answer) == KEYS
    assert (answer["path"], answer["duration_s"], answer["label"]) == ("text", 0.0, label)
    assert set(answer["probabilities"]) == set(LABELS)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert answer["streams"] == {"text": answer["probabilities"]}
    assert answer["face_coverage"] is None
    few = "only 50% of the words are known to the model: the answer from words means little"
    assert answer["warnings"] == ([few] if "我" in text else [])
    (window,) = answer["windows"]
    assert (window["start_s"], window["end_s"], window["label"]) == (0.0, 0.0, label)


def test_in_plain_words(text_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run("predict", "--model", text_run, "--text", "furious shout") == EXIT_OK
    said = capfd.readouterr().out
    assert said.startswith("text: angry  (angry ")
    assert said.count("\n") == 1


def test_words_never_seen_still_get_an_answer(recognizer: Recognizer) -> None:
    for text in ("😡😡", "我很高兴", "x" * 100_000, "..."):
        answer = recognizer.predict_text(text)
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "  \t\n"])
def test_text_without_words_is_rejected(
    text: str, text_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert run("predict", "--model", text_run, "--text", text) == EXIT_FAILURE
    said = capfd.readouterr()
    assert said.out == ""
    assert "rejected text: no words in it; leave it out" in said.err.splitlines()


def test_a_model_that_knows_no_words(audio_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (answer,) = asked(capfd, "--model", audio_run, "--text", "wow", code=EXIT_FAILURE)
    assert answer["error"] == "text: words, and the model knows audio only; use another"


def test_unknown_words_are_told(
    recognizer: Recognizer, text_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    known = recognizer.predict_text("furious shout")
    assert (known.known_word_share, known.warnings) == (1.0, ())
    for text, share, warning in (
        ("ich bin wütend", 0.0, "no word is known to the model"),
        ("furious Nachbarn schreien laut", 0.25, "only 25% of the words are known to the model"),
    ):
        (answer,) = asked(capfd, "--text", text, "--model", text_run)
        assert answer["known_word_share"] == share
        assert answer["warnings"] == [f"{warning}: the answer from words means little"]


def test_texts_of_few_known_words_abstain(
    text_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines, table = tmp_path / "lines.txt", tmp_path / "table.csv"
    lines.write_text("furious shout\nfurious Nachbarn schreien laut\n", encoding="utf-8")
    words = (lines, "--model", text_run, "--min-known-word-share")
    one, other = asked(capfd, *words, 0.5, "--csv", table)
    assert (one["label"], one["abstained"], one["known_word_share"]) == ("angry", False, 1.0)
    assert (other["label"], other["abstained"], other["known_word_share"]) == (None, True, 0.25)
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["known_word_share"] for row in rows] == ["1.0", "0.25"]
    assert [row["abstained"] for row in rows] == ["false", "true"]
    capfd.readouterr()
    assert run("predict", *words, 0.5) == EXIT_OK
    told = capfd.readouterr().out.splitlines()
    assert told[0].startswith(f"{lines}:1: angry  (")
    assert told[0].endswith("; 0.0 s, text, known words 100%)")
    assert told[1].startswith(f"{lines}:2: abstained with 25% of the words known, less than 50%  (")
    assert told[1].endswith("; 0.0 s, text, known words 25%)")
    assert asked(capfd, *words, 0.25)[1]["abstained"] is False  # just as many are answered
    for share in (0, 1.1):
        assert run("predict", *words, share) == EXIT_USAGE


# === Files of lines ===


def test_every_line_is_answered(
    text_run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, table = folder / "lines.txt", tmp_path / "table.csv"
    answers = asked(capfd, path, "--model", text_run, "--csv", table)
    assert [answer["path"] for answer in answers] == [f"{path}:{n}" for n in (1, 4, 5)]
    assert [answer["label"] for answer in answers] == ["angry", "sad", "surprised"]
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["angry", "sad", "surprised"]
    assert {row["streams"] for row in rows} == {"text"}


def test_an_interruption_keeps_the_table_until_then(
    text_run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Recognizer.predict_text

    def interrupted(self: Recognizer, text: str, name: str = "text") -> Prediction:
        if name.endswith(":5"):
            raise KeyboardInterrupt
        return read(self, text, name)

    monkeypatch.setattr(Recognizer, "predict_text", interrupted)
    table = tmp_path / "table.csv"
    words = ("predict", folder / "lines.txt", "--model", text_run, "--csv", table)
    assert run(*words) == EXIT_INTERRUPTED
    with open(table, newline="", encoding="utf-8") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["angry", "sad"]


def test_words_have_no_time_line(
    text_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "line.png"
    assert run("predict", "--text", "wow", "--model", text_run, "--plot", out) == EXIT_OK
    assert "words have no time line; nothing is drawn" in capfd.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latin.txt", "not UTF-8 text"),
        ("empty.txt", "no words in it; write one utterance a line"),
        ("blank.txt", "no words in it; write one utterance a line"),
        ("absent.txt", "absent.txt"),
    ],
)
def test_files_without_lines(
    name: str,
    expected: str,
    text_run: Path,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (answer,) = asked(capfd, folder / name, "--model", text_run, code=EXIT_FAILURE)
    assert expected in answer["error"]
    assert answer["error"].startswith(str(folder / name))
    beside = (folder / name, folder / "lines.txt")
    answers = asked(capfd, *beside, "--model", text_run, code=EXIT_PARTIAL)
    assert [("error" in answer) for answer in answers] == [True, False, False, False]


# === Words of a recording ===


def test_told_what_is_said(
    text_run: Path, fused_run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = (folder / "voice.wav", "--text", "lonely tears")
    (answer,) = asked(capfd, *told, "--model", text_run)
    assert answer["label"] == "sad"
    assert answer["duration_s"] == pytest.approx(5.8, abs=0.1)
    assert len(answer["windows"]) > 1
    assert {window["label"] for window in answer["windows"]} == {"sad"}
    (answer,) = asked(capfd, *told, "--model", fused_run)
    assert set(answer["streams"]) == {"audio", "text"}
    assert answer["warnings"] == [UNHEARD]
    assert max(answer["streams"]["text"], key=answer["streams"]["text"].get) == "sad"
    (answer,) = asked(capfd, told[0], "--model", fused_run)
    assert set(answer["streams"]) == {"audio"}
    assert answer["warnings"] == [
        "no words given (give them as text; predict --transcriber hears them):"
        " answered without text",
        UNHEARD,
    ]
    assert "transcript" not in answer


def test_a_recording_without_words(
    text_run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for more in ((), ("--text", " ")):
        words = (folder / "voice.wav", "--model", text_run, *more)
        (answer,) = asked(capfd, *words, code=EXIT_FAILURE)
        assert "no words given (give them as text;" in answer["error"]
        assert "the model knows words only" in answer["error"]
        assert "\n" not in answer["error"]


def test_heard_by_a_recogniser(
    fake: type[Fake],
    text_run: Path,
    fused_run: Path,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard = (folder / "voice.wav", "--transcriber", "sphinx")
    (answer,) = asked(capfd, *heard, "--model", text_run)
    assert answer["label"] == "angry"
    assert len(answer["windows"]) > 1
    assert {window["label"] for window in answer["windows"]} == {"angry"}
    assert {window["transcript"] for window in answer["windows"]} == {"furious shout"}
    assert answer["transcript"] == "furious shout"
    assert fake.asked == [92_800]  # all of it at once, as `preprocess --transcriber` hears a record
    (answer,) = asked(capfd, *heard, "--model", fused_run)
    assert set(answer["streams"]) == {"audio", "text"}
    assert answer["warnings"] == [UNHEARD]
    assert len(fake.asked) == 1  # the same sound is not heard twice


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (NoSpeechRecognizedError(), "no words understood (nothing understood)"),
        (TranscriptionFailedError("refused"), "no words understood (refused)"),
    ],
)
def test_a_recording_in_which_nothing_was_heard_is_told_so(
    failure: Exception,
    expected: str,
    fake: type[Fake],
    text_run: Path,
    fused_run: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fake, "answer", failure)
    heard = ("--transcriber", "sphinx")
    (answer,) = asked(capfd, folder / "voice.wav", *heard, "--model", text_run, code=EXIT_FAILURE)
    assert expected in answer["error"]
    (answer,) = asked(capfd, folder / "voice.wav", *heard, "--model", fused_run)
    assert answer["warnings"] == [f"{expected}: answered without text", UNHEARD]


def test_silence_has_no_words(
    fake: type[Fake], text_run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (folder / "silent.wav", "--transcriber", "sphinx", "--model", text_run)
    (answer,) = asked(capfd, *words, code=EXIT_FAILURE)
    assert "nothing to answer from" in answer["error"]
    assert fake.asked == []


def test_a_fused_model_from_words_alone(
    fused_run: Path, text_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (answer,) = asked(capfd, "--model", fused_run, "--text", "furious shout")
    assert answer["label"] == "angry"
    assert set(answer["streams"]) == {"text"}
    assert answer["warnings"] == ["words only: answered without audio"]
    with pytest.raises(MediaError, match="no words in it"):
        load(fused_run).predict_text("  ")


# === What does not go together ===


@pytest.mark.parametrize(
    "words",
    [
        ("voice.wav", "silent.wav", "--text", "a"),
        ("voice.wav", "--text", "a", "--transcriber", "sphinx"),
        ("lines.txt", "--text", "a"),
        ("lines.txt", "--annotate", "out.mp4"),
        ("--text", "a", "--annotate", "out.mp4"),
        (),
    ],
)
def test_wrong_usage_of_predict_with_text_ends_with_exit_code_2(
    words: tuple[str, ...], text_run: Path, folder: Path
) -> None:
    typed = [folder / word if (folder / word).is_file() else word for word in words]
    assert run("predict", *typed, "--model", text_run) == EXIT_USAGE
