"""Printed lines and time-line plot of one prediction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import progress
from affectstream.core.templates import render

ABSTAINED = "abstained"
REPORTS = "affectstream.commands.reports"


def print_prediction(answer: Any, as_json: bool) -> None:
    """Prints a `Prediction` as one line of JSON, or as readable lines."""
    if as_json:
        progress.print_result(json.dumps(answer.as_json()))
        return
    from affectstream.serving.inference.prediction import abstention_reason, percent

    shares = {
        "face": answer.face_coverage,
        "sound": answer.sound_coverage,
        "speech": answer.speech_share,
        "known words": answer.known_word_share,
    }
    text = render(
        REPORTS,
        "prediction.txt.j2",
        answer=answer,
        best=sorted(answer.probabilities.items(), key=lambda item: -item[1])[:3],
        coverage={name: percent(share) for name, share in shares.items() if share is not None},
        abstained=ABSTAINED,
        reason=abstention_reason(answer) if answer.abstained else "",
    )
    progress.print_result(text.rstrip("\n"))
    for warning in answer.warnings:
        progress.print_message(f"  warning: {warning}")


def timeline_paths(plot: Path, files: Sequence[Path], taken: Iterable[Path]) -> dict[Path, Path]:
    """Path of each file's time line: all different, and none already used.

    Args:
      plot: path from the user; with several files it is the prefix of each name.
      files: input files.
      taken: paths that must not be replaced: inputs and other outputs.
    """
    if len(set(files)) <= 1:
        return dict.fromkeys(files, plot)
    used = {path.resolve() for path in taken}
    names: dict[Path, Path] = {}
    for file in dict.fromkeys(files):
        stem = f"{plot.stem}-{file.stem}"
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        free = (plot.with_stem(name) for name in numbered)
        names[file] = next(path for path in free if path.resolve() not in used)
        used.add(names[file].resolve())
    return names


def plot_timeline(answer: Any, labels: tuple[str, ...], path: Path) -> None:
    """Draws the time line of a `Prediction` as PNG."""
    import numpy as np

    from affectstream.modeling.metrics import plots

    def panel(stream: str | None) -> np.ndarray:
        values = [
            w.probabilities if stream is None else w.streams.get(stream) for w in answer.windows
        ]
        return np.array([[v[k] if v else np.nan for k in labels] for v in values])

    panels = {stream: panel(stream) for stream in answer.streams} if len(answer.streams) > 1 else {}
    spans = [(window.start_s, window.end_s) for window in answer.windows]
    title = Path(answer.path).name
    if answer.abstained:
        from affectstream.serving.inference.prediction import abstention_reason

        title += f": {ABSTAINED} {abstention_reason(answer)}"
    panels["answer"] = panel(None)
    plots.timeline(spans, panels, labels, path, title, answer.abstain_below)
