"""`predict --abstain-below`: no label where none is probable enough."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from affectstream.core.errors import EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, MediaError
from affectstream.modeling.metrics import plots
from affectstream.serving import Recognizer, loading
from affectstream.serving.inference.prediction import (
    Prediction,
    WindowPrediction,
    abstention_reason,
    low_percent,
    percent,
    with_abstention,
)
from tests.support.factories import sample_source, tone, write_sound
from tests.support.models import picture, run

NAMES = ("happy", "sad", "angry")


def shares(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=True))


SURE, UNSURE = shares(0.8, 0.15, 0.05), shares(0.3, 0.45, 0.25)
MEAN = shares(0.55, 0.3, 0.15)


def answer(path: str = "clip.mp4", duration_s: float = 4.5) -> Prediction:
    """Sure in the first of two windows, in all 0.55; its sound is surer than its face."""
    windows = (
        WindowPrediction(0.0, 3.0, "happy", SURE, {"audio": SURE, "video": UNSURE}, 1.0, None, 0.5),
        WindowPrediction(1.5, 4.5, "sad", UNSURE, {"audio": UNSURE}, None),
    )
    faces = tuple(
        {"face": n, "label": label, "probabilities": p, "face_coverage": 1.0, "num_windows": 2}
        for n, (label, p) in enumerate((("happy", SURE), ("sad", UNSURE)), start=1)
    )
    streams = {"audio": MEAN, "video": UNSURE}
    return Prediction(path, duration_s, "happy", MEAN, streams, 1.0, windows, ("a warning",), faces)


class Fake:
    """Gives the same answer for every recording, an unsure one for words."""

    labels = NAMES
    streams = ("audio", "video", "text")

    def __call__(self, path: Path, *how: object) -> Prediction:
        if Path(path).stem == "bad":
            raise MediaError(f"{path}: no sound in it")
        return answer(str(path))

    def predict_text(self, text: str, name: str = "text") -> Prediction:
        p = SURE if "sure" in text else UNSURE
        label = max(p, key=lambda k: p[k])
        window = WindowPrediction(0.0, 0.0, label, p, {"text": p}, None)
        return Prediction(name, 0.0, label, p, {"text": p}, None, (window,))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` with any --model asks `Fake`."""
    monkeypatch.setattr(loading, "load", lambda model, weights_dir, detector, reader: Fake())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.touch()
    return path


def predicted(capfd: pytest.CaptureFixture[str], *words: object, code: int = EXIT_OK) -> str:
    """What `predict` prints."""
    capfd.readouterr()
    assert run("predict", *words, "--model", "fake") == code
    return capfd.readouterr().out


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# === The answer ===


@pytest.mark.parametrize(
    ("below", "whole", "windows", "streams"),
    [
        (0.4, False, [False, False], []),
        (0.45, False, [False, False], []),  # just as probable is answered
        (0.5, False, [False, True], ["video"]),
        (0.6, True, [False, True], ["audio", "video"]),
        (0.9, True, [True, True], ["audio", "video"]),
    ],
)
def test_files_windows_and_streams_abstain_below_the_threshold(
    below: float, whole: bool, windows: list[bool], streams: list[str]
) -> None:
    told = with_abstention(answer(), below).as_json()
    assert (told["abstained"], told["label"]) == (whole, None if whole else "happy")
    assert [window["abstained"] for window in told["windows"]] == windows
    labels = [None if no else label for no, label in zip(windows, ("happy", "sad"), strict=True)]
    assert [window["label"] for window in told["windows"]] == labels
    assert told["abstained_streams"] == streams
    for face, no, label in zip(told["faces"], windows, ("happy", "sad"), strict=True):
        assert (face["abstained"], face["label"]) == (no, None if no else label)


def test_all_else_stays() -> None:
    def stripped(value: dict[str, Any]) -> dict[str, Any]:
        left_out = ("label", "abstained", "abstained_streams")
        kept = {key: one for key, one in value.items() if key not in left_out}
        for key in ("windows", "faces"):
            if key in kept:
                kept[key] = [stripped(one) for one in kept[key]]
        return kept

    plain = answer()
    told = with_abstention(plain, 0.9)
    assert stripped(told.as_json()) == stripped(plain.as_json())
    assert not plain.abstained
    assert plain.abstained_streams == ()
    assert told.label == "happy"  # still the most probable one
    with pytest.raises(ValueError, match=r"below must be in \(0, 1\), received 1"):
        with_abstention(plain, 1.0)


# === The command ===


@pytest.mark.usefixtures("fake")
def test_without_the_option_nothing_is_new(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.csv"
    said = predicted(capfd, clip, "--json", "--csv", out)
    assert said == json.dumps(answer(str(clip)).as_json()) + "\n"
    assert "abstain" not in said
    told = json.loads(said)
    assert list(told) == [
        *("path", "duration_s", "label", "probabilities", "streams"),
        *("face_coverage", "sound_coverage", "speech_share", "known_word_share"),
        *("windows", "warnings", "faces"),
    ]
    assert list(told["windows"][0])[:4] == ["start_s", "end_s", "label", "probabilities"]
    assert out.read_text() == (
        "path,start_s,end_s,label,face_coverage,sound_coverage,speech_share,known_word_share,streams,happy,sad,angry\n"
        f"{clip},0.0,3.0,happy,1.0,0.5,,,audio+video,0.8,0.15,0.05\n"
        f"{clip},1.5,4.5,sad,,,,,audio,0.3,0.45,0.25\n"
    )
    assert predicted(capfd, clip) == (
        f"{clip}: happy  (happy 0.55  sad 0.30  angry 0.15; 4.5 s, audio+video, face 100%)\n"
        "      0.0 -     3.0 s  happy 0.80\n"
        "      1.5 -     4.5 s  sad 0.45\n"
        "  face 1: happy 0.80, seen 100%\n"
        "  face 2: sad 0.45, seen 100%\n"
    )


@pytest.mark.usefixtures("fake")
def test_an_abstention_is_told_in_json_and_csv(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.csv"
    words = (clip, "--abstain-below", 0.6)
    told = json.loads(predicted(capfd, *words, "--json", "--csv", out))
    assert (told["label"], told["abstained"], told["probabilities"]) == (None, True, MEAN)
    assert out.read_text() == (
        "path,start_s,end_s,label,abstained,face_coverage,sound_coverage,speech_share,known_word_share,streams,happy,sad,angry\n"
        f"{clip},0.0,3.0,happy,false,1.0,0.5,,,audio+video,0.8,0.15,0.05\n"
        f"{clip},1.5,4.5,,true,,,,,audio,0.3,0.45,0.25\n"
    )
    assert predicted(capfd, *words) == (
        f"{clip}: abstained below 0.6"
        "  (happy 0.55  sad 0.30  angry 0.15; 4.5 s, audio+video, face 100%)\n"
        "  abstained alone: audio, video\n"
        "      0.0 -     3.0 s  happy 0.80\n"
        "      1.5 -     4.5 s  abstained (sad 0.45)\n"
        "  face 1: happy 0.80, seen 100%\n"
        "  face 2: abstained (sad 0.45), seen 100%\n"
    )


def test_little_speech_abstains() -> None:
    """What rests on sound only; the share of the recording and of each window for itself."""
    heard = answer()
    first, second = heard.windows
    windows = (replace(first, speech_share=0.5), replace(second, speech_share=0.1))
    heard = replace(heard, windows=windows, speech_share=0.3)
    told = with_abstention(heard, min_speech_share=0.3).as_json()
    assert (told["label"], told["abstained"]) == ("happy", False)
    assert [window["abstained"] for window in told["windows"]] == [False, True]
    assert [window["label"] for window in told["windows"]] == ["happy", None]
    assert told["abstained_streams"] == []
    strict = with_abstention(heard, min_speech_share=0.4)
    told = strict.as_json()
    assert (told["label"], told["abstained"]) == (None, True)
    assert told["abstained_streams"] == ["audio"]
    assert [face["abstained"] for face in told["faces"]] == [False, False]
    assert abstention_reason(strict) == "with speech in 30%, less than 40%"
    silent = replace(heard, streams={"video": UNSURE}, speech_share=0.0)
    assert not with_abstention(silent, min_speech_share=1.0).abstained
    both = with_abstention(heard, 0.6, 0.4)
    assert both.abstained
    assert abstention_reason(both) == "below 0.6"
    with pytest.raises(ValueError, match=r"min_speech_share must be in \(0, 1\], received 0"):
        with_abstention(heard, min_speech_share=0.0)


def test_few_known_words_abstain() -> None:
    """As little speech does, for what rests on text."""
    heard = answer()
    windows = tuple(
        replace(window, streams={**window.streams, "text": UNSURE}, known_word_share=share)
        for window, share in zip(heard.windows, (0.5, 0.1), strict=True)
    )
    streams = {**heard.streams, "text": UNSURE}
    said = replace(heard, windows=windows, streams=streams, known_word_share=0.3)
    told = with_abstention(said, min_known_word_share=0.3).as_json()
    assert (told["label"], told["abstained"]) == ("happy", False)
    assert [window["abstained"] for window in told["windows"]] == [False, True]
    assert [window["label"] for window in told["windows"]] == ["happy", None]
    assert told["abstained_streams"] == []
    strict = with_abstention(said, min_known_word_share=0.4)
    told = strict.as_json()
    assert (told["label"], told["abstained"]) == (None, True)
    assert told["abstained_streams"] == ["text"]
    assert [face["abstained"] for face in told["faces"]] == [False, False]
    assert abstention_reason(strict) == "with 30% of the words known, less than 40%"
    for other in (
        replace(said, streams=heard.streams),  # no text
        replace(said, known_word_share=None),  # no vocabulary
    ):
        assert not with_abstention(other, min_known_word_share=1.0).abstained
    with pytest.raises(ValueError, match=r"min_known_word_share must be in \(0, 1\], received 1.1"):
        with_abstention(said, min_known_word_share=1.1)


def test_a_share_above_none_is_not_called_none() -> None:
    for share, told, low in (
        (0.0, "0%", "only 0%"),
        (0.0001, "less than 1%", "less than 1%"),
        (0.004, "less than 1%", "less than 1%"),
        (0.006, "1%", "only 1%"),
        (0.3, "30%", "only 30%"),
    ):
        assert (percent(share), low_percent(share)) == (told, low)
    heard = with_abstention(replace(answer(), speech_share=0.002), min_speech_share=0.1)
    assert abstention_reason(heard) == "with speech in less than 1%, less than 10%"


def test_noise_abstains_on_the_command_line(
    audio_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    path = write_sound(tmp_path / "noise.wav", noise, 16_000)
    words = ("predict", path, "--model", audio_run, "--json")
    assert run(*words) == EXIT_OK
    told = json.loads(capfd.readouterr().out)
    assert told["label"] in told["probabilities"]
    assert told["speech_share"] < 0.1
    assert run(*words, "--min-speech-share", 0.5) == EXIT_OK
    told = json.loads(capfd.readouterr().out)
    assert (told["label"], told["abstained"]) == (None, True)
    assert run(*words, "--min-speech-share", 0) == EXIT_USAGE


@pytest.mark.usefixtures("fake")
def test_words_below_the_threshold_get_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    option = ("--abstain-below", 0.6)
    told = json.loads(predicted(capfd, "--text", "hm", *option, "--json"))
    assert (told["label"], told["abstained"]) == (None, True)
    assert predicted(capfd, "--text", "hm", *option).startswith("text: abstained below 0.6  (sad ")
    lines = tmp_path / "lines.txt"
    lines.write_text("hm\nsurely\n", encoding="utf-8")
    said = predicted(capfd, lines, *option, "--json", "--csv", tmp_path / "w.csv")
    assert [json.loads(line)["label"] for line in said.splitlines()] == [None, "happy"]
    rows = table(tmp_path / "w.csv")
    assert [(row["label"], row["abstained"]) for row in rows] == [("", "true"), ("happy", "false")]


@pytest.mark.usefixtures("fake")
def test_a_rejected_file_is_no_abstention(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.touch()
    words = (clip, bad, "--abstain-below", 0.99, "--json")
    one, other = map(json.loads, predicted(capfd, *words, code=EXIT_PARTIAL).splitlines())
    assert one["abstained"] is True
    assert set(other) == {"path", "error"}


@pytest.mark.parametrize("given", ["0", "1", "-0.1", "1.5", "nan", "inf", "half"])
def test_what_is_no_probability(given: str, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict", clip, "--model", "fake", "--abstain-below", given) == EXIT_USAGE
    said = capfd.readouterr().err
    assert "--abstain-below" in said
    assert "Traceback" not in said


# === Pictures ===


@pytest.mark.usefixtures("fake")
def test_the_time_line(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def drawn(name: str, *words: object) -> np.ndarray:
        predicted(capfd, clip, "--plot", tmp_path / name, *words)
        return picture(tmp_path / name).astype(int)

    plain, none, some = (
        drawn("a.png"),
        *(drawn(f"{p}.png", "--abstain-below", p) for p in (0.2, 0.5)),
    )
    grey = round(0.88 * 255)

    def share(shown: np.ndarray) -> np.ndarray:
        """(2,) of the pixels in the left and right half of the lowest panel that are shaded."""
        lowest = np.all(shown == grey, axis=2)[-shown.shape[0] // 3 :]
        return np.array([half.mean() for half in np.array_split(lowest, 2, axis=1)])

    assert share(plain).max() < 0.01
    assert share(none).max() < 0.01
    left, right = share(some)
    assert right > 0.3
    assert left < 0.05
    assert (plain != none).any()  # the line at the threshold


def test_the_time_line_of_every_number_of_windows(tmp_path: Path) -> None:
    for count in (1, 2, 5):
        spans = [(float(n), n + 2.0) for n in range(count)]
        panel = np.tile([0.6, 0.3, 0.1], (count, 1))
        for below in (0.5, 0.7):
            out = tmp_path / f"{count}-{below}.png"
            plots.timeline(spans, {"answer": panel}, NAMES, out, "title", below)
            shaded = np.all(picture(out) == round(0.88 * 255), axis=2).mean()
            assert (shaded > 0.2) == (below > 0.6)


# === A trained model ===


@pytest.fixture(scope="module")
def recognizer(fusion_run: Path) -> Recognizer:
    return loading.load(fusion_run)


@pytest.fixture
def trained(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` with any --model asks the one that is loaded."""
    monkeypatch.setattr(loading, "load", lambda model, weights_dir, detector, reader: recognizer)


@pytest.mark.usefixtures("trained")
def test_recordings_below_the_threshold_get_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    face = sorted(sample_source().rglob("*.mp4"))[0]
    voice = write_sound(tmp_path / "voice.wav", tone(7.2), 16_000)
    plain = [json.loads(s) for s in predicted(capfd, face, voice, "--json").splitlines()]
    highest = [max(one["probabilities"].values()) for one in plain]
    between = float(np.mean(highest))
    words = (face, voice, "--json", "--abstain-below", between)
    told = [json.loads(line) for line in predicted(capfd, *words).splitlines()]
    assert [one["abstained"] for one in told] == [p < between for p in highest]
    assert sorted(one["abstained"] for one in told) == [False, True]
    for one, other in zip(told, plain, strict=True):
        assert one["probabilities"] == other["probabilities"]
        for window, as_before in zip(one["windows"], other["windows"], strict=True):
            below = max(as_before["probabilities"].values()) < between
            assert window["abstained"] == below
            assert window["label"] == (None if below else as_before["label"])


@pytest.mark.usefixtures("trained")
def test_annotate(tmp_path: Path) -> None:
    source = sorted(sample_source().rglob("*.mp4"))[0]

    def bars(name: str, *words: object) -> np.ndarray:
        """(H, W, 3) int: the upper left of the first frame."""
        out = tmp_path / name
        assert run("predict", source, "--model", "it", "--annotate", out, *words) == EXIT_OK
        with av.open(str(out)) as container:
            shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        return shown[: shown.shape[0] // 2, : shown.shape[1] // 2]

    def num_orange(shown: np.ndarray) -> int:
        return int(np.sum(shown[..., 0] - shown[..., 2] > 120))

    answered, abstained = bars("a.mp4"), bars("b.mp4", "--abstain-below", 0.999)
    assert num_orange(answered) > 50
    assert num_orange(abstained) < num_orange(answered) / 5
