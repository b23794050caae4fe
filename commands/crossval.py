"""`crossval`: speaker-independent cross-validation of a recipe with several seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.engine_options import engine_options, make_engine
from affectstream.commands.options.param_types import OutputPath, StoragePath
from affectstream.commands.options.recipe_options import changed_recipe, recipe_options
from affectstream.core import atomic_io, registry
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.preprocessing.dataset.data_folder import open_data_folder

# Copied from `affectstream.modeling.crossval.leakage`, which imports TensorFlow.
LEAKAGE_CHOICES = ("random-split", "test-epoch", "speaker-norm", "all")


@click.command("crossval")
@click.option("--recipe", "name", type=click.Choice(registry.names("recipes")), required=True)
@click.option(
    "--data",
    type=StoragePath(),
    help="Data folder, or a feature table for a recipe of one stream; its own split is not used."
    f" [default: {sample_data.DEFAULT_DATA_FOLDER}]",
)
@click.option(
    "--folds",
    metavar="N|loso",
    default="5",
    show_default=True,
    help="Number of folds of speakers; loso: leave one speaker out.",
)
@click.option(
    "--validation-speakers",
    type=click.IntRange(1),
    help="Number of the next fold's speakers that validate; its others train. [default: all]",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option("--out", type=OutputPath(), help="[default: runs/crossval-RECIPE]")
@recipe_options
@click.option(
    "--stream-recipe",
    "stream_recipe_names",
    type=click.Choice(registry.names("recipes")),
    multiple=True,
    help="Recipe of a stream, for a fusion; one for each. [default: those of the recipe]",
)
@click.option(
    "--reuse-streams",
    type=StoragePath(),
    help="Crossval folder of another fusion of the same streams, which are not trained again.",
)
@click.option(
    "--reuse-ensemble",
    type=StoragePath(),
    help="Crossval folder of the same recipes with single networks: with --set"
    " [STREAM.]ensemble_size=N its seeds are averaged, N at a time (with tta_speeds: read at each"
    " speed), and not trained again.",
)
@click.option(
    "--extra-train-data",
    type=StoragePath(),
    multiple=True,
    help="Data folder of another corpus that trains in each fold and is never scored; repeatable.",
)
@click.option(
    "--leakage-scenario",
    type=click.Choice(LEAKAGE_CHOICES),
    multiple=True,
    help="Also train with this data leak, seed 0 only, to show its effect; repeatable.",
)
@engine_options("Trainings at a time, each in a process; 0: one by one in this. [default: 0]")
def command(
    name: str,
    data: Path | None,
    folds: str,
    validation_speakers: int | None,
    seeds: int,
    out: Path | None,
    labels: str | None,
    epochs: int | None,
    batch_size: int | None,
    settings: tuple[str, ...],
    stream_recipe_names: tuple[str, ...],
    reuse_streams: Path | None,
    reuse_ensemble: Path | None,
    extra_train_data: tuple[Path, ...],
    leakage_scenario: tuple[str, ...],
    engine: str,
    address: str | None,
    workers: int | None,
) -> None:
    """Trains and tests a recipe over folds of whole speakers, with several seeds.

    Each fold is predicted once a seed; epoch (unless the last is kept), temperature and fusion are
    chosen on speakers of the next fold, and the others train. The report (report.md, report.html,
    crossval.json) scores all clips together. The same command goes on where it was interrupted;
    more --seeds are added to those that are there. With a fusion --epochs and --batch-size are its
    own; those of a part are --set STREAM.epochs=N.
    """
    chosen = make_engine(engine, address, workers, default_workers=0)
    recipe = registry.load("recipes", name)
    if stream_recipe_names and isinstance(recipe, FusionRecipe):
        recipe = dataclasses.replace(recipe, stream_recipes=stream_recipe_names)
    recipe, of_streams = changed_recipe(recipe, labels, epochs, batch_size, settings)
    parts = []
    for part_name in stream_recipe_names or recipe.stream_recipes:
        part = registry.load("recipes", part_name)
        parts.append(
            part.with_settings([f"labels={recipe.labels}", *of_streams.get(part.stream, ())])
        )
    folder, *extra_folders = [
        open_data_folder(path) if parts else sample_data.open_data(path, recipe.features)
        for path in (data or sample_data.default_data_folder(), *extra_train_data)
    ]
    from affectstream.modeling.crossval.config import plan_crossval
    from affectstream.modeling.crossval.introduction import print_crossval_summary
    from affectstream.modeling.crossval.leakage import (
        choose_leakage_scenarios,
        run_leakage_scenarios,
    )
    from affectstream.modeling.crossval.report import MARKDOWN, summary, write_report
    from affectstream.modeling.crossval.run import prepare_crossval_folder, run_crossval

    out = out or sample_data.RUNS_FOLDER / f"crossval-{name}"
    crossval = plan_crossval(
        recipe,
        parts,
        folder,
        folds,
        seeds,
        out,
        validation_speakers,
        reuse_streams,
        extra_folders,
        reuse_ensemble,
    )
    kinds = choose_leakage_scenarios(crossval, leakage_scenario)
    with atomic_io.folder_lock(out):
        prepare_crossval_folder(crossval)
        print_crossval_summary(crossval)
        rows = run_crossval(crossval, engine=chosen)
        scores = write_report(crossval, rows)
        if kinds:
            scores = write_report(crossval, rows, run_leakage_scenarios(crossval, kinds, chosen))
    click.echo(summary(scores), nl=False)
    click.echo(f"written to {out / MARKDOWN}", err=True)
