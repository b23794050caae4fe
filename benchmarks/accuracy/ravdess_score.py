"""The score on RAVDESS: voice, face and both, each clip predicted by models without its speaker.

Trains what is not trained yet (hours on two cores; stopped, it goes on), adds the classical
baselines on the same folds, and writes the section `ravdess` of docs/results.md.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.special import log_softmax, softmax

from affectstream.commands.options.engine_options import make_engine
from affectstream.core import atomic_io, registry
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from benchmarks import report
from benchmarks.accuracy import scores

CORPUS, LABELS = "ravdess", "ravdess8"
PARTS = ("resnet-asp-3x80-audio", "action-units")
# Name -> recipe and settings; the first one of a call trains the streams for all.
FUSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "late-fusion": ("late-fusion", ()),
    "sum": ("two-stream-sum", ()),
    "max_rule": ("late-fusion", ("fusion=max_rule",)),
    "dense": ("dense-fusion", ()),
    "gated": ("dense-fusion", ("fusion=gated",)),
    "cross-attention": ("dense-fusion", ("fusion=cross_attention",)),
    "concat-resnet1d": ("dense-fusion", ("fusion=concat_resnet1d",)),
}
COLUMNS = ("", "parameters", *scores.COLUMNS)
ABOVE = (
    "How far the UAR of the networks is above that of the regressions. Both are asked about the"
    " same clips; whole speakers are resampled, the same for both."
)
SURE = (
    "The same, where only answers of a highest probability are given (`predict --abstain-below`):"
    " share of the clips that are answered, and share of these that is right."
)
ABOVE_COLUMNS = ("", "against", "above", "95 %")
# What logistic regression is fitted to, by stream.
REGRESSIONS = {
    "audio": "ComParE 2016 + logistic regression",
    "video": "action units + logistic regression",
    "both": "these two, log-probabilities added",
}
SECTION = "ravdess"


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.crossval_parser(__doc__, "runs/ravdess-score", SECTION)
    parser.add_argument("--data", type=Path, required=True, help="records with sound and OpenFace")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tta-speeds", default="", help="ask the voice's networks at these, too")
    parser.add_argument("--fusions", nargs="+", choices=FUSIONS, default=list(FUSIONS))
    chosen = parser.parse_args(words)
    machine = report.machine()
    with report.user_errors():
        registry.load("recipes", PARTS[0]).with_settings([f"tta_speeds={chosen.tta_speeds}"])
        crossvals = _crossvals(chosen)
        rows, scored = _neural(crossvals), [crossvals[0]]
        for members, speeds in _compositions(chosen):
            scored.append(_composed(chosen, crossvals[0][0], members, speeds))
            rows += _neural(scored[-1:])
        rows = list(dict.fromkeys(rows))  # a stream that is as it was has a row already
        best, regressions = scored[-1], _regressions(chosen, crossvals[0][0])
        rows += _classical(regressions, crossvals[0][0].labels.labels)
        above = dict.fromkeys(r for planned, _ in scored for r in _above(planned, regressions))
        groups = [*_groups(*best), SURE, _sure(best[0])]
    first = crossvals[0][1]
    pairs = [pair for _, numbers in (*crossvals, *scored[1:]) for pair in numbers["fold_runs"]]
    revisions = ", ".join(sorted({pair["git_revision"] or "unknown" for pair in pairs}))
    note = (
        f"{first['num_clips']} clips of {first['num_speakers']} speakers, {LABELS}, folds:"
        f" {len(first['folds'])} of whole speakers, seeds: {first['num_seeds']}; trained,"
        f" calibrated or fused by revision {revisions}, data {first['data']['digest']}"
        f" ({first['data']['licence']})."
        " The mean over seeds, ± the sample deviation over them; 95 %: whole speakers resampled."
        f"{scores.AVERAGED}"
    )
    compared = report.table(ABOVE_COLUMNS, list(above))
    parts = [note, report.table(COLUMNS, rows), ABOVE, compared, *groups]
    report.publish("RAVDESS, voice and face", "ravdess_score", words, machine, parts, chosen)
    return 0


# === Networks ===


def _crossvals(chosen: Any) -> list[tuple[Any, dict[str, Any]]]:
    """A finished crossval a fusion, with its numbers; only the first one trains the streams."""
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.crossval.config import plan_crossval

    data = open_data_folder(chosen.data)
    label = f"labels={LABELS}"
    parts = [registry.load("recipes", name).with_settings([label]) for name in PARTS]
    done: list[tuple[Any, dict[str, Any]]] = []
    for name in chosen.fusions:
        recipe_name, settings = FUSIONS[name]
        recipe = registry.load("recipes", recipe_name).with_settings([label, *settings])
        recipe = dataclasses.replace(recipe, stream_recipes=PARTS)
        first = done[0][0].out if done else None
        out = chosen.runs / name
        planned = plan_crossval(
            recipe, parts, data, chosen.folds, chosen.seeds, out, 2, reuse_streams=first
        )
        done.append((planned, _run(planned, chosen.workers)))
    return done


def _run(planned: Any, workers: int) -> dict[str, Any]:
    """Trains missing runs; returns the numbers of the report."""
    from affectstream.modeling.crossval.report import write_report
    from affectstream.modeling.crossval.run import run_crossval

    return write_report(planned, run_crossval(planned, engine=make_engine("local", None, workers)))


def _compositions(chosen: Any) -> list[tuple[int, str]]:
    """Network counts and speeds of the ensembles built from the trained networks."""
    members, speeds = dict.fromkeys((1, chosen.seeds)), dict.fromkeys(("", chosen.tta_speeds))
    return [(count, at) for at in speeds for count in members if count > 1 or at]


def _composed(chosen: Any, first: Any, members: int, speeds: str) -> tuple[Any, dict[str, Any]]:
    """The first fusion again, each stream an ensemble of several seeds; the best comes last.

    Args:
      speeds: test-time augmentation speeds of the audio stream; "" for none.
    """
    from affectstream.modeling.crossval.config import plan_crossval

    heard = {"audio": speeds}
    parts = [
        dataclasses.replace(part, ensemble_size=members, tta_speeds=heard.get(part.stream, ""))
        for part in first.stream_recipes
    ]
    name = first.out.name + f"-of-{members}" * (members > 1)
    name += f"-at-{speeds.replace(',', '-')}" * bool(speeds)
    given = (first.recipe, parts, first.data, chosen.folds, chosen.seeds // members)
    planned = plan_crossval(*given, chosen.runs / name, 2, reuse_ensemble=first.out)
    return planned, _run(planned, chosen.workers)


def _neural(crossvals: list[tuple[Any, dict[str, Any]]]) -> list[tuple[str, ...]]:
    """Each stream alone, then each fusion with both streams and with one."""
    first, found = crossvals[0]
    rows = []
    for one in found["per_stream"]:
        if one["kind"] == "alone":
            part = next(part for part in first.stream_recipes if part.stream == one["stream"])
            count = f"{_parameters(first, part.stream):,}"
            name = f"{part.stream}: `{part.name}`{part.ensemble_label}"
            rows.append((name, count, *scores.cells(one)))
    for planned, numbers in crossvals:
        told = f"both: {planned.recipe.fusion}{planned.stream_recipes[0].ensemble_label}"
        rows.append((told, f"{_parameters(planned):,}", *scores.cells(numbers)))
        for one in numbers["per_stream"]:
            if one["kind"] == "only":
                rows.append((f"{told}, {one['stream']} only", "", *scores.cells(one)))
    return rows


def _groups(planned: Any, numbers: dict[str, Any]) -> tuple[str, str]:
    """Errors by sex, intensity and class; human performance; preceded by a remark."""
    from affectstream.modeling.crossval.report import HUMAN_PERFORMANCE
    from affectstream.modeling.crossval.run import predictions_of_streams
    from affectstream.modeling.crossval.scores import pooled_scores
    from affectstream.modeling.crossval.task import STREAM_ALONE

    labels = planned.labels.labels
    alone = predictions_of_streams(planned, STREAM_ALONE)
    found: dict[tuple[str, ...], dict[str, Any]] = {
        **{(stream,): pooled_scores(rows, labels) for stream, rows in alone.items()},
        tuple(alone): numbers,
    }
    rows = [
        (f"{told}, {name}", *(_share(one[group].get(name, {}).get(key)) for one in found.values()))
        for group, key, told in (
            ("per_sex", "uar", "UAR"),
            ("per_intensity", "uar", "UAR"),
            ("per_class", "recall", "recall"),
        )
        for name in numbers[group]
    ]
    people = [HUMAN_PERFORMANCE[CORPUS, LABELS, streams] for streams in found]
    shares = (f"{one.low:.2f}" + f" - {one.high:.2f}" * (one.high > one.low) for one in people)
    rows.append(("people, share right", *shares))
    columns = ("", *(" + ".join(streams) for streams in found))
    whose = f"{planned.recipe.fusion}{planned.stream_recipes[0].ensemble_label}"
    note = f"Where these err ({whose}). People: {people[0].source}."
    return note, report.table(columns, rows)


def _sure(planned: Any) -> str:
    """What is left, and how much of it is right, where unsure answers are withheld."""
    from affectstream.modeling.crossval.run import PREDICTIONS, predictions_of_streams
    from affectstream.modeling.crossval.task import STREAM_ALONE
    from affectstream.modeling.metrics import selective_prediction

    found = predictions_of_streams(planned, STREAM_ALONE)
    found[" + ".join(found)] = scores.read_predictions(planned.out / PREDICTIONS)
    reports = [
        selective_prediction.report(
            selective_prediction.curve(
                *selective_prediction.confidence_from_rows(rows, planned.labels.labels)
            )
        )
        for rows in found.values()
    ]
    by_threshold = zip(*(one["at_thresholds"] for one in reports), strict=True)
    rows = [
        (
            f"{cells[0]['threshold']:g} and above",
            *(_share(one["coverage"]) for one in cells),
            *(_share(one["accuracy"]) for one in cells),
        )
        for cells in by_threshold
    ]
    rows.append(("AURC", *[""] * len(found), *(_share(one["aurc"]) for one in reports)))
    told = ("answered", "right")
    return report.table(("", *(f"{what}, {name}" for what in told for name in found)), rows)


def _parameters(crossval: Any, stream: str = "") -> int:
    from affectstream.modeling.runs.checkpoints import load_model
    from affectstream.modeling.runs.run_folder import BEST

    fold = crossval.folds[0]
    run = crossval.stream_run(fold, 0, stream) if stream else crossval.fold_run(fold, 0)
    return int(load_model(run / BEST).count_params())


def _share(value: float | None) -> str:
    """Nothing where a stream has no clip of a group."""
    return "" if value is None else f"{value:.3f}"


# === Classical ===


def _regressions(chosen: Any, crossval: Any) -> dict[str, list[dict[str, str]]]:
    """Predictions of logistic regression over ComParE and action units, on the same folds."""
    from benchmarks.accuracy import classical

    rows, labels, folds = crossval.rows, crossval.labels, crossval.folds
    compare = classical.compare_functionals(crossval.data, rows, chosen.runs / "compare.npz")
    units = classical.action_unit_means(crossval.data, rows)
    voice = classical.log_probabilities(compare, rows, labels, folds)
    face = classical.log_probabilities(units, rows, labels, folds)
    made = {
        "audio": voice,
        "video": face,
        "both": log_softmax(voice + face, axis=1),
    }
    found = {}
    for name, logs in made.items():
        found[name] = scores.as_predictions(rows, softmax(logs, axis=1), labels)
        atomic_io.write_json(chosen.runs / f"{name}-classical.json", found[name])
    return found


def _classical(
    regressions: dict[str, list[dict[str, str]]], labels: Sequence[str]
) -> list[tuple[str, ...]]:
    from affectstream.modeling.crossval.scores import pooled_scores

    return [
        (f"{name}: {REGRESSIONS[name]}", "", *scores.cells(pooled_scores(predictions, labels)))
        for name, predictions in regressions.items()
    ]


def _above(planned: Any, regressions: dict[str, list[dict[str, str]]]) -> list[tuple[str, ...]]:
    """How far each stream and the fusion are above the regression over the same."""
    from affectstream.modeling.crossval.run import PREDICTIONS, predictions_of_streams
    from affectstream.modeling.crossval.scores import uar_difference
    from affectstream.modeling.crossval.task import STREAM_ALONE

    found = predictions_of_streams(planned, STREAM_ALONE)
    found["both"] = scores.read_predictions(planned.out / PREDICTIONS)
    names = {p.stream: f"`{p.name}`{p.ensemble_label}" for p in planned.stream_recipes}
    names["both"] = planned.recipe.fusion + planned.stream_recipes[0].ensemble_label
    told: list[tuple[str, ...]] = []
    for stream, predictions in found.items():
        seeds = dict.fromkeys(row["seed"] for row in predictions)
        base = [row | {"seed": seed} for seed in seeds for row in regressions[stream]]
        difference, ends = uar_difference(predictions, base, planned.labels.labels)
        interval = scores.interval(ends, "+")
        told.append(
            (f"{stream}: {names[stream]}", REGRESSIONS[stream], f"{difference:+.3f}", interval)
        )
    return told


if __name__ == "__main__":
    raise SystemExit(main())
