"""Plots of a run: curves, confusion matrix, reliability, risk over coverage, time line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from affectstream.core import atomic_io
from affectstream.modeling.metrics.selective_prediction import (
    THRESHOLDS,
    RiskCoverageCurve,
    at_threshold,
)

# Okabe & Ito 2008: distinguishable with any colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")


def _figure(width_inches: float, height_inches: float) -> Figure:
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_io.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": ""})


def curves(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Plots loss and accuracy over the epochs; the kept epoch is marked."""
    figure = _figure(10, 4)
    epochs = [row["epoch"] for row in rows]
    best = max(row["epoch"] for row in rows if row["best"])
    panels = (("loss", "Loss", ("loss", "val_loss")), ("uar", "UAR", ("uar", "val_uar")))
    for axis, (_, name, keys) in zip(figure.subplots(1, 2), panels, strict=True):
        for key, color, side in zip(keys, COLORS, ("training", "validation"), strict=False):
            axis.plot(epochs, [row[key] for row in rows], color=color, label=side, marker=".")
        axis.axvline(best, color="0.6", linestyle=":", label=f"kept: epoch {best}")
        axis.set(xlabel="Epoch", ylabel=name)
        axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axis.legend()
    figure.suptitle(title)
    _save(figure, path)


def confusion(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], path: Path, title: str
) -> None:
    """Plots a confusion matrix: rows are the truth, colours row shares, numbers clips."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.7 * len(labels)
    figure = _figure(side + 1, side)
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="Recognised as", ylabel="Truth", title=title)
    figure.colorbar(image, label="Share of the true class", shrink=0.8)
    _save(figure, path)


def reliability(
    bins: Sequence[tuple[float, float, int]], ece: float, path: Path, title: str
) -> None:
    """Plots accuracy against confidence; the diagonal is perfect calibration."""
    figure = _figure(5.5, 5.2)
    axis = figure.subplots()
    confidence, accuracy, clips = np.array(bins).T
    axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    axis.plot(confidence, accuracy, color=COLORS[0], zorder=2)
    sizes = 20 + 300 * clips / clips.max()
    axis.scatter(confidence, accuracy, s=sizes, color=COLORS[0], zorder=3, label="clips (size)")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="Confidence", ylabel="Accuracy")
    axis.set_title(f"{title}\nECE {ece:.3f}")
    axis.legend(loc="upper left")
    _save(figure, path)


def risk_coverage(curve: RiskCoverageCurve, path: Path, title: str) -> None:
    """Plots the error rate over coverage, and the lowest possible curve."""
    figure = _figure(5.5, 5.2)
    axis = figure.subplots()
    # A single point, e.g. of equal confidences, draws no line, so it gets a marker.
    marker = "." if len(curve.risk) < 30 else ""
    axis.plot(curve.coverage, curve.risk, color=COLORS[0], marker=marker, label="by confidence")
    axis.axhline(curve.risk[-1], color="0.6", linestyle=":", label="every clip answered")
    share = np.linspace(0.001, 1, 1000)
    best = np.maximum(share - (1 - curve.risk[-1]), 0) / share
    axis.plot(share, best, color=COLORS[2], linestyle="--", label="best: all errors last")
    _mark_thresholds(axis, curve)
    highest = max(0.05, 1.1 * curve.risk.max())
    axis.set(xlim=(0, 1.02), ylim=(-0.02 * highest, highest))
    axis.set(xlabel="Coverage: share of clips answered", ylabel="Risk: share of errors in these")
    axis.set_title(f"{title}\nAURC {curve.aurc:.3f}, at best {curve.best_aurc:.3f}")
    axis.legend(loc="best")
    _save(figure, path)


def _mark_thresholds(axis: Axes, found: RiskCoverageCurve) -> None:
    """Marks thresholds by dots, with the number if there is room for it."""
    last_coverage, label = -1.0, "abstaining below"
    for threshold in reversed(THRESHOLDS):
        row = at_threshold(found, threshold)
        if row["num_answered"] and row["coverage"] - last_coverage >= 0.03:
            last_coverage = row["coverage"]
            at = last_coverage, 1 - row["accuracy"]
            axis.plot(*at, "o", color=COLORS[1], markersize=4, label=label)
            axis.annotate(f"{threshold}", at, (3, 4), textcoords="offset points", fontsize="small")
            label = "_"  # one legend entry


def timeline(
    spans_s: Sequence[tuple[float, float]],
    probabilities: dict[str, np.ndarray],
    labels: Sequence[str],
    path: Path,
    title: str,
    abstain_below: float | None = None,
) -> None:
    """Plots probabilities over time: one panel per stream and one for the prediction.

    Args:
      spans_s: start and end of each window; values are plotted at the middle of their window.
      probabilities: panel name -> (windows, classes), NaN if a stream is missing; the prediction is
        last.
      abstain_below: draws a line at this confidence, and grey behind windows below it.
    """
    figure = _figure(10, 1.2 + 2.1 * len(probabilities))
    axes = np.atleast_1d(figure.subplots(len(probabilities), 1, sharex=True))
    start_s, end_s = spans_s[0][0], spans_s[-1][1]
    times_s = [start_s, *(sum(span) / 2 for span in spans_s), end_s]
    for axis, (name, values) in zip(axes, probabilities.items(), strict=True):
        for index, label in enumerate(labels):
            line = [values[0, index], *values[:, index], values[-1, index]]
            color = COLORS[index % len(COLORS)]
            style = "-" if index < len(COLORS) else "--"
            marked = range(1, len(line) - 1)
            axis.plot(times_s, line, style, color=color, label=label, marker=".", markevery=marked)
        axis.set(ylim=(0, 1), xlim=(start_s, end_s), ylabel=name)
    shaded: list[Patch] = []
    if abstain_below is not None:
        answers = list(probabilities.values())[-1]
        shaded = _shaded(axes[-1], times_s, answers.max(axis=1) < abstain_below)
        for axis in axes:
            axis.axhline(abstain_below, color="0.4", linestyle=":")
    axes[-1].set_xlabel("Time in seconds")
    lines, names = axes[0].get_legend_handles_labels()
    lines, names = [*lines, *shaded], [*names, *("abstained" for _ in shaded)]
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.02)}
    axes[0].legend(lines, names, ncols=4, fontsize="small", **place)
    figure.suptitle(title)
    _save(figure, path)


def _shaded(axis: Axes, times_s: Sequence[float], abstained: np.ndarray) -> list[Patch]:
    """Grey background of each withheld window, half-way to its neighbours.

    Args:
      times_s: middle of each window, preceded by the start and followed by the end of the
        recording.
      abstained: (windows,) bool.
    Returns:
      one of the patches for the legend, or none.
    """
    between = [(one + other) / 2 for one, other in itertools.pairwise(times_s[1:-1])]
    spans = itertools.pairwise([times_s[0], *between, times_s[-1]])
    patches: list[Patch] = [
        axis.axvspan(*span, color="0.88", zorder=0)
        for span, left_out in zip(spans, abstained, strict=True)
        if left_out
    ]
    return patches[:1]
