"""`evaluate`: how good a run is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from affectstream.commands.jobs.fusion_streams import data_by_stream, one_table_per_stream
from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import OutputPath, StoragePath
from affectstream.preprocessing.dataset.data_folder import DataFolder


@click.command("evaluate")
@click.option("--run", type=StoragePath(), required=True, help="Run folder.")
@click.option(
    "--data",
    type=StoragePath(),
    multiple=True,
    help="Data folder or feature table; several are joined. [default:"
    f" {sample_data.DEFAULT_DATA_FOLDER}]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="test",
    show_default=True,
)
@click.option(
    "--out",
    type=OutputPath(),
    help="[default: RUN/evaluation/DATA-SPLIT, of a bundled model evaluations/NAME/DATA-SPLIT]",
)
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the table.")
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Score although the run was trained on it (as with --split train); stamped.",
)
def command(
    run: Path, data: tuple[Path, ...], split: str, out: Path | None, as_json: bool, allow_leak: bool
) -> None:
    """Scores a run on records that it was not trained on.

    Prints UAR (mean recall, with a 95 % interval resampled by speaker), WA (plain accuracy),
    macro-F1, ECE, each class, and the risk-coverage trade-off of abstaining; writes
    metrics.json, predictions.csv, risk_coverage.csv and three pictures, into a folder for each data
    and split.
    """
    from affectstream.preprocessing.dataset.feature_table import is_feature_table

    chosen = data or (sample_data.default_data_folder(),)
    features = ""
    folders: list[DataFolder] = []
    if any(is_feature_table(path) for path in chosen):
        from affectstream.modeling.runs.run_folder import read_run

        info = read_run(run)
        features = info.recipe.features
        if len(info.streams) > 1:
            by_stream = data_by_stream(tuple(map(str, chosen)))
            own = {stream: str(part["features"]) for stream, part in info.stream_info.items()}
            folders = [
                sample_data.open_paired_tables(one_table_per_stream(by_stream, info.streams), own)
            ]
    folders = folders or [sample_data.open_data(path, features) for path in chosen]
    from affectstream.modeling.evaluation.evaluate import evaluate, format_scores
    from affectstream.modeling.runs.score_store import evaluation_folder, evaluation_root

    out = out or evaluation_folder(evaluation_root(run), folders, split)
    result = evaluate(run, folders, split, out, allow_leak)
    click.echo(f"{json.dumps(result, indent=1)}\n" if as_json else format_scores(result), nl=False)
    click.echo(f"written to {out}", err=True)
