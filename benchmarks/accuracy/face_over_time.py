"""What a face network says over the length of real recordings: pooling, windows, smoothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectstream.core.errors import MediaError
from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.prediction import Prediction, top_label
from affectstream.serving.inference.smoothing import num_changes, smoothed
from benchmarks import report
from benchmarks.accuracy import recordings

# Length and step of the windows in seconds: about one face, and as `predict` takes them.
SHORT, USUAL = (0.4, 0.2), (3.0, 1.5)
SMOOTH_S = (1.0, 3.0)
COLUMNS = (
    *("recording", "s", "face coverage", "answer"),
    f"agree, windows of {SHORT[0]:g} s",
    "changes a minute",
    *(f"smoothed over {s:g} s" for s in SMOOTH_S),
    f"agree, windows of {USUAL[0]:g} s",
)


@dataclass(frozen=True)
class TimelineStability:
    """Of one recording with windows of one length, from the face alone.

    Attributes:
      agree: share of the windows whose label is that of the whole recording.
      changes: of the label, a minute.
    """

    agree: float
    changes: float


def face_only(answer: Prediction) -> Prediction | None:
    """The prediction without audio; windows without a face are excluded."""
    if "video" not in answer.streams:
        return None

    def only(one: Any) -> Any:
        shares = one.streams["video"]
        return replace(
            one, label=top_label(shares), probabilities=shares, streams={"video": shares}
        )

    seen = tuple(only(window) for window in answer.windows if "video" in window.streams)
    return replace(only(answer), windows=seen)


def flicker(answer: Prediction, label: str) -> TimelineStability:
    """How steady a time line is, and how near to `label`."""
    labels = [window.label for window in answer.windows]
    minutes = max(answer.duration_s, 1e-9) / 60
    return TimelineStability(labels.count(label) / len(labels), num_changes(answer) / minutes)


def row(path: Path, ask: Callable[..., Prediction]) -> tuple[str, ...] | None:
    """One recording's row; None where no face is found in it."""
    short, usual = (face_only(ask(path, PredictOptions("largest", *how))) for how in (SHORT, USUAL))
    if short is None or usual is None:
        return None
    plain = flicker(short, usual.label)
    calm = [flicker(smoothed(short, smooth_s), usual.label) for smooth_s in SMOOTH_S]
    return (
        f"`{path.name}`",
        f"{usual.duration_s:.1f}",
        f"{usual.face_coverage or 0:.0%}",
        f"{usual.label} {usual.probabilities[usual.label]:.2f}",
        f"{plain.agree:.0%} of {len(short.windows)}",
        *(f"{one.changes:.0f}" for one in (plain, *calm)),
        f"{flicker(usual, usual.label).agree:.0%} of {len(usual.windows)}",
    )


def main(words: Sequence[str] = ()) -> int:
    words = list(words or sys.argv[1:])
    chosen = recordings.parser(__doc__, "face-over-time").parse_args(words)
    machine, rows = report.machine(), []
    with recordings.chosen_files(chosen) as (files, _):
        recognizer = recordings.recognizer(chosen)
        for path in files:
            try:
                made = row(path, recognizer)
            except MediaError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            rows += [] if made is None else [made]
    note = (
        f"From the face alone, of {recognizer!r}; {len(rows)} of {len(files)} recordings show one."
        " `answer`: mean probabilities over the windows of the whole recording. `agree`: share of"
        " the windows that say the same. Short windows hold one to a few faces; `smoothed` is"
        " `predict --smooth-s` on these. The table looks at no true label."
    )
    parts = [note, report.table(COLUMNS, rows)]
    report.publish("Faces over time", "face_over_time", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
