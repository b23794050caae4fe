"""The report of a crossval: `crossval.json`, `report.md`, `report.html` and three plots."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affectstream.core import atomic_io
from affectstream.core.templates import render
from affectstream.modeling.crossval.config import Crossval
from affectstream.modeling.crossval.folds import sex_of_speakers
from affectstream.modeling.crossval.leakage import LEAKAGE_SEED, leakage_scores
from affectstream.modeling.crossval.run import predictions_of_streams
from affectstream.modeling.crossval.scores import SCORES, pooled_scores
from affectstream.modeling.crossval.task import FUSION_OF_ONE_STREAM, STREAM_ALONE
from affectstream.modeling.evaluation.evaluate import write_risk_coverage
from affectstream.modeling.metrics import plots, selective_prediction
from affectstream.modeling.runs import run_folder
from affectstream.preprocessing.dataset.data_folder import DataFolder

CROSSVAL_JSON = "crossval.json"
MARKDOWN = "report.md"
HTML = "report.html"
PLOTS = {
    "speakers.png": "UAR of each speaker, mean over seeds",
    "confusion_matrix.png": "Confusion matrix, clips of all seeds",
    "reliability.png": "Accuracy against confidence, clips of all seeds",
    "risk_coverage.png": "Errors over the share of clips answered, clips of all seeds",
}
SCORE_NAMES = {"uar": "UAR", "wa": "WA", "macro_f1": "macro-F1", "ece": "ECE"}
SCORE_NAMES |= {"calibrated_model_ece": "expected ECE"}
STREAM_ROW_TITLES = {
    STREAM_ALONE: "{} alone, by its own model",
    FUSION_OF_ONE_STREAM: "fusion given {} only",
}
TEMPLATES = "affectstream.modeling.crossval"


@dataclass(frozen=True)
class HumanPerformance:
    """Accuracy of human raters on all recordings and labels of a corpus.

    Attributes:
      low, high: share of recordings recognised as the actor intended, a WA and not a UAR; both are
        equal if only one figure is published.
      source: reference of the figures, and what was rated.
    """

    low: float
    high: float
    source: str


_RAVDESS = "raters among 8 emotions, Livingstone & Russo 2018, PLoS ONE 13(5) e0196391"
# (corpus, label set, streams) -> human performance. Other label sets are not comparable, because
# the raters chose among these labels.
HUMAN_PERFORMANCE = {
    ("ravdess", "ravdess8", ("audio",)): HumanPerformance(0.62, 0.67, _RAVDESS),
    ("ravdess", "ravdess8", ("video",)): HumanPerformance(0.75, 0.75, _RAVDESS),
    ("ravdess", "ravdess8", ("audio", "video")): HumanPerformance(0.80, 0.80, _RAVDESS),
}


@dataclass(frozen=True)
class Table:
    """One table of the report; the first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def write_report(
    crossval: Crossval,
    rows: Sequence[dict[str, str]],
    leaked: dict[str, list[dict[str, str]]] | None = None,
) -> dict[str, Any]:
    """Writes the report of all predictions; `crossval.json` last.

    Args:
      rows: of `predictions.csv`.
      leaked: from `run_leakage_scenarios`, shown in a separate table; no other figure uses them.
    Returns:
      the content of `crossval.json`.
    """
    scores = _numbers(crossval, rows)
    scores["leaks"] = leakage_scores(rows, leaked or {}, crossval.labels.labels)
    title = (
        f"{scores['recipe']['name']}, folds: {len(crossval.folds)}, seeds: {scores['num_seeds']}"
    )
    title += " (SYNTHETIC data)" if scores["data"]["synthetic"] else ""
    out = crossval.out
    _plot_speakers(scores, out / "speakers.png", title)
    matrix = scores["confusion_matrix"]
    plots.confusion(matrix, scores["labels"], out / "confusion_matrix.png", title)
    mean_ece = scores["mean"]["ece"]
    plots.reliability(scores["reliability"], mean_ece, out / "reliability.png", title)
    curve = selective_prediction.curve(
        *selective_prediction.confidence_from_rows(rows, scores["labels"])
    )
    scores["risk_coverage"] = write_risk_coverage(out, curve, title)
    write_pages(title, scores, out)
    atomic_io.write_json(out / CROSSVAL_JSON, scores)
    return scores


def summary(found: dict[str, Any]) -> str:
    """The scores as readable lines."""
    return render(
        TEMPLATES, "summary.txt.j2", found=found, names=SCORE_NAMES, mean=_mean, seed=LEAKAGE_SEED
    )


def _numbers(crossval: Crossval, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    streams = crossval.streams
    corpora = {row.corpus for row in crossval.rows}
    human = None
    if len(corpora) == 1:
        human = HUMAN_PERFORMANCE.get(
            (corpora.pop(), crossval.recipe.labels, tuple(sorted(streams)))
        )
    scores = pooled_scores(rows, crossval.labels.labels)
    for speaker, sex in sex_of_speakers(crossval.rows).items():
        scores["per_speaker"][speaker]["sex"] = sex
    return {
        **scores,
        "recipe": crossval.recipe.as_json(),
        "stream_recipes": [part.as_json() for part in crossval.stream_recipes],
        "data": _data_summary(crossval.data),
        "extra_train_data": [_data_summary(folder) for folder in crossval.extra_train_data],
        "folds": crossval.plan["folds"],
        "fold_runs": _fold_runs(crossval),
        "per_stream": _per_stream(crossval),
        "human_performance": vars(human) if human else None,
        "versions": run_folder.versions(),
        "git_revision": run_folder.git_revision(),
        "command": run_folder.command_line(),
    }


def _data_summary(data: DataFolder) -> dict[str, Any]:
    return {
        "path": str(data.path),
        "corpus": data.settings["corpus"],
        "licence": data.settings["licence"],
        "synthetic": data.synthetic,
        "digest": atomic_io.digest(data.content()),
    }


def _per_stream(crossval: Crossval) -> list[dict[str, Any]]:
    """For a fusion: scores of each stream's own model, and of the fusion on that stream alone."""
    per_stream = []
    kept = ("mean", "std", "uar_ci95", "num_clips")
    for kind in (STREAM_ALONE, FUSION_OF_ONE_STREAM):
        for stream, rows in predictions_of_streams(crossval, kind).items():
            scores = pooled_scores(rows, crossval.labels.labels)
            per_stream.append(
                {"kind": kind, "stream": stream, **{key: scores[key] for key in kept}}
            )
    return per_stream


def _fold_runs(crossval: Crossval) -> list[dict[str, Any]]:
    """The selections of each fold and seed on its validation speakers."""
    fold_runs = []
    for seed in range(crossval.num_seeds):
        for fold in crossval.folds:
            info = run_folder.read_run(crossval.fold_run(fold, seed))
            fold_runs.append(
                {
                    "fold": fold.number,
                    "seed": seed,
                    "temperature": info.calibration.temperature,
                    "validation": info.scores,
                    "is_average": bool(info.ensemble_members),
                    "notes": list(info.notes),
                    "git_revision": info.git_revision,
                }
            )
    return fold_runs


# === Content ===


def _tables(found: dict[str, Any]) -> list[Table]:
    seeds = [str(one["seed"]) for one in found["per_seed"]]
    scores = tuple(
        (
            SCORE_NAMES[key],
            _mean(found["mean"][key], found["std"][key]),
            *(f"{one[key]:.3f}" for one in found["per_seed"]),
        )
        for key in SCORES
    )
    chance = (
        "ECE over 15 bins of equal width. Expected ECE: that of a calibrated model with the same"
        " confidences and number of clips."
    )
    header = ("score", "mean ± deviation", *(f"seed {seed}" for seed in seeds))
    streams = tuple(
        (
            STREAM_ROW_TITLES[one["kind"]].format(one["stream"]),
            *(_mean(one["mean"][key], one["std"][key]) for key in SCORES),
            _interval(one["uar_ci95"]),
            str(one["num_clips"]),
        )
        for one in found["per_stream"]
    )
    per_stream = ("", *(SCORE_NAMES[key] for key in SCORES), "95 % of UAR", "clips")
    classes = tuple(
        (label, _mean(one["recall"], one["std"]), str(one["num_clips"]))
        for label, one in found["per_class"].items()
    )
    counts = tuple(
        (label, *map(str, row))
        for label, row in zip(found["labels"], found["confusion_matrix"], strict=True)
    )
    pairs = tuple(
        (
            f"{pair['fold']}, {pair['seed']}",
            ", ".join(found["folds"][pair["fold"] - 1]["test"]),
            ", ".join(found["folds"][pair["fold"] - 1]["validation"]),
            "" if pair["is_average"] else str(pair["validation"]["epoch"]),
            f"{pair['temperature']:.3f}",
            f"{pair['validation']['val_uar']:.3f}",
        )
        for pair in found["fold_runs"]
    )
    chosen = ("fold, seed", "tested", "chosen on", "epoch", "temperature", "validation UAR")
    tables = [
        Table("Scores", header, scores, chance),
        _leaks(found["leaks"]),
        Table("Streams", per_stream, streams, "Of the clips that have the stream."),
        Table("By class", ("class", "recall", "clips"), classes),
        _groups("By speaker", found["per_speaker"]),
        _groups("By sex", found["per_sex"]),
        _groups("By intensity", found["per_intensity"]),
        Table("Confusion matrix", ("truth", *found["labels"]), counts, "Clips of all seeds."),
        Table("Folds and what was chosen", chosen, pairs),
    ]
    return [table for table in tables if table.rows]


def _leaks(leaks: Sequence[dict[str, Any]]) -> Table:
    rows = tuple(
        (one["protocol"], f"{one['uar']:.3f}", f"{one['wa']:.3f}", f"{one['uar_difference']:+.3f}")
        for one in leaks
    )
    note = (
        f"Seed {LEAKAGE_SEED} only, the baseline too; a difference within the deviation over"
        " seeds tells"
        " nothing. These figures count nowhere else."
    )
    for one in leaks[1:]:
        note += f" {one['note']}."
    header = ("protocol", "UAR", "WA", "UAR to the baseline")
    return Table("What leaking would have shown", header, rows, note)


def _groups(title: str, groups: dict[str, dict[str, Any]]) -> Table:
    rows = tuple(
        (
            f"{name} ({one['sex']})" if one.get("sex") else name,
            f"{one['uar']:.3f}",
            f"{one['wa']:.3f}",
            str(one["num_clips"]),
        )
        for name, one in groups.items()
    )
    return Table(title, ("", "UAR", "WA", "clips"), rows, "Means over seeds.")


def _interval(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""


def _mean(value: float, deviation: float | None) -> str:
    return f"{value:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")


# === Pages ===


def write_pages(title: str, found: dict[str, Any], out: Path) -> None:
    """Writes the report as Markdown with separate plots, and as one HTML page that embeds them."""
    values = {
        "title": title,
        "facts": render(TEMPLATES, "facts.txt.j2", found=found).splitlines(),
        "tables": _tables(found),
        "plots": [
            {
                "name": name,
                "caption": caption,
                "base64": base64.b64encode((out / name).read_bytes()).decode("ascii"),
            }
            for name, caption in PLOTS.items()
        ],
    }
    for page in (MARKDOWN, HTML):
        atomic_io.write_text(out / page, render(TEMPLATES, f"{page}.j2", **values))


def _plot_speakers(found: dict[str, Any], path: Path, title: str) -> None:
    """Plots UAR of each speaker and the mean UAR; human accuracy is a WA and is not drawn."""
    speakers = found["per_speaker"]
    figure = Figure(figsize=(max(6.4, 2 + 0.35 * len(speakers)), 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.bar(range(len(speakers)), [s["uar"] for s in speakers.values()], color=plots.COLORS[5])
    mean = found["mean"]["uar"]
    axis.axhline(mean, color=plots.COLORS[0], label=f"mean UAR {mean:.3f}")
    axis.set_xticks(range(len(speakers)), list(speakers), rotation=90)
    axis.set(ylim=(0, 1), ylabel="UAR", title=title)
    axis.legend()
    with atomic_io.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": ""})
