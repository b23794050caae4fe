"""How steady the answer from a face is over a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.prediction import Prediction, Probabilities, WindowPrediction
from benchmarks.accuracy import face_over_time
from benchmarks.accuracy.face_over_time import face_only, flicker

HEARD = {"happy": 0.1, "sad": 0.9}


def shares(happy: float) -> Probabilities:
    return {"happy": happy, "sad": 1 - happy}


def answer(levels: list[float | None], step_s: float = 1.0) -> Prediction:
    """Sound says sad throughout; None is a window without a face."""
    windows = tuple(
        WindowPrediction(
            *(place * step_s, (place + 1) * step_s, "sad", HEARD),
            {"audio": HEARD} | ({} if level is None else {"video": shares(level)}),
            None if level is None else 1.0,
        )
        for place, level in enumerate(levels)
    )
    seen = [level for level in levels if level is not None]
    streams = {"audio": HEARD} | ({"video": shares(sum(seen) / len(seen))} if seen else {})
    return Prediction("clip.mp4", len(levels) * step_s, "sad", HEARD, streams, 0.5, windows)


def test_the_face_alone() -> None:
    made = face_only(answer([0.9, None, 0.2, 0.9]))
    assert made is not None
    assert made.label == "happy"
    assert [window.label for window in made.windows] == ["happy", "sad", "happy"]
    found = flicker(made, "happy")
    assert (found.agree, found.changes) == pytest.approx((2 / 3, 30))
    assert face_only(answer([None, None])) is None


def test_a_row_compares_short_windows_smoothed_and_usual_ones() -> None:
    asked = []

    def ask(path: Path, options: PredictOptions) -> Prediction:
        asked.append((options.face, options.window_s, options.hop_s))
        if options.window_s == face_over_time.USUAL[0]:
            return answer([0.7, 0.6], 1.5)
        return answer([0.9, 0.9, 0.4, 0.9, 0.9], 0.6)

    row = face_over_time.row(Path("a/clip.mp4"), ask)
    assert row is not None and len(row) == len(face_over_time.COLUMNS)
    assert asked == [("largest", *face_over_time.SHORT), ("largest", *face_over_time.USUAL)]
    assert row[:5] == ("`clip.mp4`", "3.0", "50%", "happy 0.65", "80% of 5")
    assert row[5:] == ("40", "40", "0", "100% of 2")
    assert face_over_time.row(Path("clip.mp4"), lambda *_: answer([None])) is None
