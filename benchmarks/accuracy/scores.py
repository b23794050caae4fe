"""Scores of predictions as cells of a table; the note above it says what was resampled."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.labels import LabelSet

COLUMNS = ("UAR", "95 %", "WA", "macro-F1", "ECE", "expected ECE")
# Of rows whose name says so, see `ensemble_label`.
AVERAGED = " Averaged: one model of all seeds, so there is no deviation."


def cells(scores: dict[str, Any]) -> tuple[str, ...]:
    """One cell for each of `COLUMNS`.

    Args:
      scores: of `crossval_scores.pooled_scores`.
    """
    mean, deviation = scores["mean"], scores["std"]["uar"]
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    return (
        f"{mean['uar']:.3f}{spread}",
        interval(scores["uar_ci95"]),
        *(f"{mean[key]:.3f}" for key in ("wa", "macro_f1", "ece", "calibrated_model_ece")),
    )


def interval(ends: Sequence[float] | None, sign: str = "") -> str:
    """Both ends; of a difference with `sign` "+"."""
    return "too few" if not ends else " - ".join(f"{end:{sign}.3f}" for end in ends)


def read_predictions(path: Path, seed: int = 0) -> list[dict[str, str]]:
    """What `evaluate` wrote, as the rows of a crossval."""
    facts = {"seed": str(seed), "sex": "", "intensity": ""}
    with open(path, newline="", encoding="utf-8") as file:
        return [{**facts, **row} for row in csv.DictReader(file)]


def as_predictions(
    rows: Sequence[ClipRow], probabilities: np.ndarray, labels: LabelSet
) -> list[dict[str, str]]:
    """What `predictions.csv` of a crossval would hold, for seed 0.

    Args:
      probabilities: (clips, classes) float in the order of `rows`.
    """
    return [
        {
            "seed": "0",
            "id": row.id,
            "speaker": row.speaker,
            "sex": row.attributes.get("sex", ""),
            "intensity": row.attributes.get("intensity", ""),
            "label": labels.labels[labels.index(row.label)],  # type: ignore[index]
            **{name: str(p) for name, p in zip(labels.labels, shares, strict=True)},
        }
        for row, shares in zip(rows, probabilities, strict=True)
    ]
