"""`evaluate`: a run on a data folder -> metrics.json, predictions, risk over coverage, plots."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.core.templates import render
from affectstream.modeling.data.array_dataset import uses_feature_tables
from affectstream.modeling.data.subset import Subset, any_has_stream, select_records
from affectstream.modeling.data.table_inference import uses_paired_tables
from affectstream.modeling.evaluation.inference import load_run, preparation_differences
from affectstream.modeling.evaluation.subset_predictions import predict_subset
from affectstream.modeling.metrics import classification, plots, selective_prediction
from affectstream.modeling.runs import run_folder
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.modeling.runs.score_store import (
    METRICS,
    MODEL_DIGEST_KEY,
    data_identity,
    data_name,
    model_digest,
)
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.dataset.leakage import (
    overlaps,
    require_disjoint,
    shared_speaker_id_notes,
)
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT

PREDICTIONS = "predictions.csv"
RISK_COVERAGE = "risk_coverage"


def evaluate(
    run: Path,
    folders: Sequence[DataFolder],
    split: str,
    out: Path,
    allow_leak: bool = False,
    only_stream: str = "",
) -> dict[str, Any]:
    """Scores a run; writes `metrics.json`, `predictions.csv`, `risk_coverage.csv` and plots.

    Args:
      split: "train", "validation", "test" or "all".
      allow_leak: score although the data overlap with training data; recorded in the result.
      only_stream: the only stream given to a fusion, the others count as missing; "" gives all.
    Returns:
      the content of `metrics.json`.
    Raises:
      UserError: a leak, records of another format than the model needs, no record, or an `out`
        within the bundled models.
    """
    storage_paths.require_outside_bundled(out)
    atomic_io.remove_stale_temporaries(out)
    model, info = load_run(run)
    streams = (only_stream,) if only_stream else info.streams
    labels = run_folder.label_set_of(info)
    subset = select_records(folders, split, labels, streams)
    require_same_preparation(
        info, subset if len(subset) else select_records(folders, "all", labels, streams), streams
    )
    if not len(subset):
        raise UserError(
            f"no {split} record with a label of {info.label_set} and a stream of"
            f" {', '.join(info.streams)}; check --split and `describe` the data"
        )
    leaks = _leaks(info, subset, split)
    used_for = "trained on" if split == "validation" else "trained and chosen on"
    leaked = require_disjoint(leaks, f"what the run was {used_for}, and {split} here", allow_leak)
    probabilities, truth = predict_subset(model, subset, info, only_stream)
    rows = subset.all_rows
    scores = classification.report(
        truth,
        probabilities,
        info.labels,
        [row.speaker for row in rows],
        [row.cluster for row in rows],
    )
    confidence, correct = selective_prediction.confidence_and_correctness(truth, probabilities)
    curve = selective_prediction.curve(confidence, correct)
    otherwise = []
    if "video" in streams and not uses_feature_tables(subset) and not uses_paired_tables(subset):
        with_video = [
            f
            for f, rows_of_folder in zip(subset.folders, subset.rows, strict=True)
            if any_has_stream(rows_of_folder, "video")
        ]
        otherwise = [
            note for folder in with_video for note in preparation_differences(info, folder)
        ]
    result = {
        **scores,
        "per_corpus": _per_corpus(truth, probabilities, rows, scores),
        RISK_COVERAGE: selective_prediction.report(curve),
        "split": split,
        "leak_allowed": leaked or info.leak_allowed,
        "leaks": leaks,
        "used_for_selection": bool(overlaps(info.validation_footprint, rows)),
        "synthetic": info.synthetic or any(folder.synthetic for folder in folders),
        "notes": sorted(
            {
                *info.notes,
                *(note for folder in folders for note in folder.splits.notes),
                *otherwise,
                *shared_speaker_id_notes(
                    {*info.footprint.speakers, *(row.speaker for row in rows)}
                ),
            }
        ),
        "run": str(run),
        MODEL_DIGEST_KEY: model_digest(run),
        "streams": list(streams),
        **data_identity(folders),
        "skipped": _skipped(folders, split, subset),
    }
    atomic_io.write_json(out / METRICS, result)
    _write_predictions(out, subset, probabilities, truth, info)
    title = f"{info.recipe.name}, {split} of {_named(result)}" + _stamp(result)
    plots.confusion(scores["confusion_matrix"], info.labels, out / "confusion_matrix.png", title)
    bins = classification.reliability(truth, probabilities)
    plots.reliability(bins, scores["ece"], out / "reliability.png", title)
    write_risk_coverage(out, curve, title)
    return result


def require_same_preparation(info: RunInfo, subset: Subset, streams: Sequence[str]) -> None:
    """Refuses records that were prepared differently from the training data of the model.

    Only streams that occur in the chosen records of a folder are compared: without any face, the
    face size does not matter.

    Args:
      streams: the streams that are read.
    Raises:
      UserError: another sampling rate, crop size or colour.
    """
    for folder, rows in zip(subset.folders, subset.rows, strict=True):
        _require_same_preparation(
            info, folder, {s for row in rows for s in row.streams} & {*streams}
        )


def _require_same_preparation(info: RunInfo, folder: DataFolder, streams: Set[str]) -> None:
    wanted, stored = info.preparation, folder.settings["preparation"]
    if "audio" in streams and wanted["sample_rate_hz"] != stored["sample_rate_hz"]:
        raise UserError(
            f"{folder.path}: records of {stored['sample_rate_hz']} Hz, the model was trained on"
            f" {wanted['sample_rate_hz']} Hz;"
            f" preprocess with --sample-rate {wanted['sample_rate_hz']}"
        )
    if "video" in streams:
        if wanted.get("action_units") != stored.get("action_units"):
            raise UserError(
                f"{folder.path}: face crops where the model looks at action units, or the other way"
                " round, or other units; preprocess as its own data were"
            )
        for key, option in (("size_px", "--face-size"), ("color", "--face-color")):
            a, b = wanted["face"][key], stored["face"][key]
            if a != b:
                raise UserError(
                    f"{folder.path}: faces of {key} {b}, the model was trained on {a};"
                    f" preprocess with {option} {a}"
                )


def _leaks(info: RunInfo, subset: Subset, split: str) -> list[str]:
    """Overlaps of the subset with data that the run was trained on.

    Data that selected the epoch and the temperature may be scored as validation; the result then
    says so.
    """
    footprint, compare_speakers = info.footprint, True
    if split == "validation":
        footprint, compare_speakers = info.train_footprint, NOT_DISJOINT not in info.notes
    return overlaps(footprint, subset.all_rows, compare_speakers)


def _skipped(folders: Sequence[DataFolder], split: str, subset: Subset) -> dict[str, int]:
    """Counts records of the split without a label of the set or without any of the streams."""
    chosen = {row.id for row in subset.all_rows}
    counts: dict[str, int] = {}
    for folder in folders:
        for row in folder.subset(split):
            if row.id not in chosen:
                counts[row.label] = counts.get(row.label, 0) + 1
    return counts


def _write_predictions(
    out: Path, subset: Subset, probabilities: np.ndarray, truth: np.ndarray, info: RunInfo
) -> None:
    columns = ("id", "speaker", "label", "predicted", *info.labels)
    rows = (
        {
            "id": row.id,
            "speaker": row.speaker,
            "label": info.labels[truth[i]],
            "predicted": info.labels[int(probabilities[i].argmax())],
            **{name: f"{probabilities[i, k]:.6f}" for k, name in enumerate(info.labels)},
        }
        for i, row in enumerate(subset.all_rows)
    )
    atomic_io.write_csv(out / PREDICTIONS, columns, rows)


def write_risk_coverage(
    out: Path, curve: selective_prediction.RiskCoverageCurve, title: str
) -> dict[str, Any]:
    """Writes `risk_coverage.csv`, one row per threshold, and `risk_coverage.png`.

    Returns:
      see `risk_coverage.report`.
    """
    columns = ("threshold", "num_answered", "coverage", "risk")
    atomic_io.write_csv(
        out / f"{RISK_COVERAGE}.csv", columns, selective_prediction.curve_rows(curve)
    )
    plots.risk_coverage(curve, out / f"{RISK_COVERAGE}.png", title)
    return selective_prediction.report(curve)


def _named(result: dict[str, Any]) -> str:
    return " + ".join(dict.fromkeys(map(data_name, result["data"])))


def _stamp(result: dict[str, Any]) -> str:
    stamp = " (SYNTHETIC data)" if result["synthetic"] else ""
    return stamp + (" (LEAK ALLOWED)" if result["leak_allowed"] else "")


def _per_corpus(
    truth: np.ndarray, probabilities: np.ndarray, rows: Sequence[ClipRow], whole: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The scores of each corpus; speakers of several corpora are not one population."""
    per_corpus = {}
    for corpus in sorted({row.corpus for row in rows}):
        in_corpus = [place for place, row in enumerate(rows) if row.corpus == corpus]
        scores = whole
        if len(in_corpus) < len(rows):
            speakers = [rows[place].speaker for place in in_corpus]
            clusters = [rows[place].cluster for place in in_corpus]
            scores = classification.report(
                truth[in_corpus], probabilities[in_corpus], whole["labels"], speakers, clusters
            )
        per_corpus[corpus] = {key: scores[key] for key in classification.SUMMARY_KEYS}
    return per_corpus


def format_scores(result: dict[str, Any]) -> str:
    """The scores as readable lines."""
    return render(
        "affectstream.modeling.evaluation",
        "scores.txt.j2",
        scores=result,
        stamp=_stamp(result),
        risk_lines=selective_prediction.format_report(result[RISK_COVERAGE]),
    )
