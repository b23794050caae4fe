"""Printed lines and time-line plot of one prediction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import progress

ABSTAINED = "abstained"


def print_prediction(answer: Any, as_json: bool) -> None:
    """Prints a `Prediction`: as one line of JSON, or as lines for a person."""
    if as_json:
        progress.print_result(json.dumps(answer.as_json()))
        return
    ordered = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    top = "  ".join(f"{label} {p:.2f}" for label, p in ordered[:3])
    used = "+".join(answer.streams)
    shares = {
        "face": answer.face_coverage,
        "sound": answer.sound_coverage,
        "speech": answer.speech_share,
    }
    coverage = "".join(f", {name} {x:.0%}" for name, x in shares.items() if x is not None)
    label = answer.label
    if answer.abstained:
        from affectstream.serving.inference.prediction import abstention_reason

        label = f"{ABSTAINED} {abstention_reason(answer)}"
    progress.print_result(
        f"{answer.path}: {label}  ({top}; {answer.duration_s:.1f} s, {used}{coverage})"
    )
    if len(answer.streams) > 1 and answer.abstained_streams:
        progress.print_result(f"  {ABSTAINED} alone: {', '.join(answer.abstained_streams)}")
    if answer.transcript is not None:
        progress.print_result(f"  heard: {answer.transcript or '(nothing)'}")
    if len(answer.windows) > 1:
        for window in answer.windows:
            told = _told(window.label, window.probabilities, window.abstained)
            heard = f'  "{window.transcript}"' if window.transcript else ""
            progress.print_result(f"  {window.start_s:7.1f} - {window.end_s:7.1f} s  {told}{heard}")
    for face in answer.faces:
        told = _told(face["label"], face["probabilities"], face.get("abstained", False))
        progress.print_result(f"  face {face['face']}: {told}, seen {face['face_coverage']:.0%}")
    for warning in answer.warnings:
        progress.print_message(f"  warning: {warning}")


def _told(label: str | None, probabilities: dict[str, float], abstained: bool) -> str:
    label = label or max(probabilities, key=lambda name: probabilities[name])
    share = f"{label} {probabilities[label]:.2f}"
    return f"{ABSTAINED} ({share})" if abstained else share


def timeline_paths(plot: Path, files: Sequence[Path], taken: Iterable[Path]) -> dict[Path, Path]:
    """Where the time line of each file is drawn: no two in one place, and none over a taken one.

    Args:
      plot: as the user named it; of several files it is the beginning of each name.
      files: those asked about.
      taken: what must not be replaced: inputs and other outputs.
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
