"""`predict --smooth-s`: each window averaged with those around it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from affectstream.core.errors import EXIT_OK, EXIT_USAGE
from affectstream.serving import loading
from affectstream.serving.inference.prediction import Prediction, Probabilities, WindowPrediction
from affectstream.serving.inference.smoothing import num_changes, smoothed
from tests.support.models import run


def shares(happy: float) -> Probabilities:
    return {"happy": happy, "sad": 1 - happy}


def answer(path: str = "clip.mp4") -> Prediction:
    """Windows of 2 s, 1 s apart; the third flickers, the last has no face."""
    levels = (0.9, 0.8, 0.2, 0.8, 0.6)
    windows = tuple(
        WindowPrediction(
            *(float(start), start + 2.0, "happy" if level > 0.5 else "sad", shares(level)),
            {"audio": shares(0.5), **({"video": shares(level)} if start < 4 else {})},
            1.0 if start < 4 else 0.0,
        )
        for start, level in enumerate(levels)
    )
    streams = {"audio": shares(0.5), "video": shares(0.675)}
    return Prediction(path, 6.0, "happy", shares(0.66), streams, 0.8, windows)


def test_a_moving_average_of_the_windows_near() -> None:
    told = smoothed(answer(), 2.0)
    happy = [window.probabilities["happy"] for window in told.windows]
    assert happy == pytest.approx([0.85, 1.9 / 3, 0.6, 1.6 / 3, 0.7])
    assert [window.label for window in told.windows] == ["happy"] * 5
    assert (num_changes(answer()), num_changes(told)) == (2, 0)
    faces = [w.streams["video"]["happy"] for w in told.windows if "video" in w.streams]
    assert faces == pytest.approx([0.85, 1.9 / 3, 0.6, 0.5]), "a missing face counts nowhere"
    assert "video" not in told.windows[4].streams


def test_the_recording_and_all_else_stay() -> None:
    plain, told = answer(), smoothed(answer(), 2.0)
    assert told.probabilities == plain.probabilities and told.streams == plain.streams
    for one, other in zip(told.windows, plain.windows, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert one.face_coverage == other.face_coverage
    assert "smooth_s" not in plain.as_json()
    assert told.as_json()["smooth_s"] == 2.0


def test_smoothing_reaches_no_further_than_its_seconds() -> None:
    plain = answer()
    assert smoothed(plain, 1.9).windows == plain.windows, "the next window lies 1 s away"
    wide = [window.probabilities["happy"] for window in smoothed(plain, 100.0).windows]
    assert wide == pytest.approx([0.66] * 5)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="smooth_s must be above 0"):
            smoothed(plain, wrong)


class Fake:
    labels = ("happy", "sad")
    streams = ("audio", "video", "text")

    def __call__(self, path: Path, *how: object) -> Prediction:
        return answer(str(path))

    def predict_text(self, text: str) -> Prediction:
        raise NotImplementedError


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "load", lambda model, weights_dir, detector, reader: Fake())
    clip, out = tmp_path / "clip.mp4", tmp_path / "windows.csv"
    clip.touch()
    words = ("predict", clip, "--model", "fake", "--json", "--csv", out)
    assert run(*words, "--smooth-s", 2, "--abstain-below", 0.55) == EXIT_OK
    told = json.loads(capfd.readouterr().out)
    assert told["smooth_s"] == 2.0
    abstained = [window["abstained"] for window in told["windows"]]
    assert abstained == [False, False, False, True, False], "what is smoothed is judged"
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["happy", "happy", "happy", "", "happy"]
    assert run(*words, "--smooth-s", 0) == EXIT_USAGE
