"""`train`: records -> a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from affectstream.commands.jobs.fusion_streams import (
    SharedOptions,
    data_by_stream,
    paired_tables,
    train_missing_streams,
)
from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import OutputPath, StoragePath
from affectstream.commands.options.recipe_options import changed_recipe, recipe_options
from affectstream.commands.reports.training_report import report_training
from affectstream.core import atomic_io, registry, tf_setup
from affectstream.modeling.recipes.recipe import DEFAULT_RECIPES, FusionRecipe
from affectstream.preprocessing.clip import STREAMS
from affectstream.preprocessing.dataset.data_folder import DataFolder


@click.command("train")
@click.option(
    "--stream",
    type=click.Choice([*STREAMS, "fusion"]),
    help="May be left out when --recipe says it.",
)
@click.option(
    "--data",
    metavar="[STREAM=]PATH",
    multiple=True,
    help="Data folder; several are joined. With STREAM= it is for that part of a fusion only."
    f" [default: {sample_data.DEFAULT_DATA_FOLDER}]",
)
@click.option("--out", type=OutputPath(), help="Run folder. [default: runs/STREAM]")
@click.option("--recipe", "recipe_name", type=click.Choice(registry.names("recipes")))
@recipe_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--audio-run", type=StoragePath(), help="For a fusion.")
@click.option("--video-run", type=StoragePath(), help="For a fusion.")
@click.option("--text-run", type=StoragePath(), help="For a fusion.")
@click.option(
    "--unpaired",
    is_flag=True,
    help="Fuse runs without paired data, also where they were trained on the same.",
)
@click.option(
    "--init-from",
    type=StoragePath(),
    help="Run whose weights training starts from, of the same encoder and features, or a fusion"
    " that has such a part; `pretrained` is the model that comes with this program.",
)
@click.option(
    "--ensemble-run",
    "ensemble_runs",
    type=StoragePath(),
    multiple=True,
    help="With --set ensemble_size=N (or tta_speeds: one): N finished runs of the same recipe, data"
    " and split, with seeds of their own, which are averaged and not trained again.",
)
@click.option(
    "--distribute",
    type=click.Choice(["mirrored", "multi-worker"]),
    help="mirrored: all GPUs of this machine share each batch; multi-worker: one such process a"
    " worker, which TF_CONFIG names, all with the same words.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.")
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Train although something crosses the split; stamped on every result.",
)
@click.option(
    "--allow-scripted-text",
    is_flag=True,
    help="Train on words although they say nothing about the label (actors reading a script).",
)
def command(
    stream: str | None,
    data: tuple[str, ...],
    out: Path | None,
    recipe_name: str | None,
    labels: str | None,
    epochs: int | None,
    batch_size: int | None,
    seed: int,
    settings: tuple[str, ...],
    audio_run: Path | None,
    video_run: Path | None,
    text_run: Path | None,
    unpaired: bool,
    init_from: Path | None,
    ensemble_runs: tuple[Path, ...],
    distribute: str | None,
    resume: bool,
    overwrite: bool,
    allow_leak: bool,
    allow_scripted_text: bool,
) -> int:
    """Trains one network per stream, or fuses trained streams.

    Without --data it takes data/records; where nothing was prepared yet, the built-in SYNTHETIC
    sample, prepared first. Where other data were prepared in this folder, it asks for --data.

    `--set ensemble_size=N` trains N networks, each with a seed of its own, and averages them.

    --data may also be a feature table that `features` wrote, for a recipe of those features.

    `--stream fusion` joins --audio-run, --video-run and --text-run, two at least (default
    runs/audio and runs/video). A recipe with parts trains those that are not named, into OUT-audio
    and so on; `--set audio.KEY=VALUE` and `--data audio=PATH` are for such a part, --init-from is
    for all of them. Runs that were trained on different data are fused without paired data, from
    each one's own validation part, unless --data names recordings that have the streams together.
    """
    stream, recipe = _recipe(stream, recipe_name)
    out = out or sample_data.RUNS_FOLDER / stream
    named = {"audio": audio_run, "video": video_run, "text": text_run}
    runs = {name: path for name, path in named.items() if path is not None}
    folders_of = data_by_stream(data)
    if stream != "fusion" and (runs or set(folders_of) - {"", stream}):
        raise click.UsageError("--STREAM-run and --data STREAM=PATH go with --stream fusion")
    recipe, of_streams = changed_recipe(recipe, labels, epochs, batch_size, settings)
    if ensemble_runs and not recipe.is_ensemble:
        raise click.UsageError("--ensemble-run goes with --set ensemble_size=N, or tta_speeds")
    start = _start(init_from, stream, recipe)
    if unpaired and (stream != "fusion" or "" in folders_of):
        raise click.UsageError("--unpaired is for a fusion that reads no --data of its own")
    read = [("--ensemble-run", run) for run in ensemble_runs]
    read += [("--init-from", start)] if start else []
    _require_first(out, read, distribute, resume, overwrite)
    if stream == "fusion":
        of_all = SharedOptions(out, seed, overwrite, allow_leak, init_from)
        if distribute is not None:
            _require_trained(recipe, runs)
        runs = train_missing_streams(recipe, runs, folders_of, of_all, of_streams)
        folders = _data_of_fusion(runs, folders_of)
    else:
        chosen = [path for found in folders_of.values() for path in found]
        chosen = chosen or [sample_data.ensure_default_data_folder()]
        folders = [sample_data.open_data(path, recipe.features) for path in chosen]
    tf_setup.import_tensorflow()
    from affectstream.modeling.training.distribution import distribution_scope
    from affectstream.modeling.training.train_fusion import train_fusion
    from affectstream.modeling.training.train_stream import train_stream
    from affectstream.modeling.training.training_steps import TrainOptions

    with (
        distribution_scope(distribute) as worker,
        worker.private_run_folder(out, resume) as own_out,
        atomic_io.folder_lock(own_out),
    ):
        options = TrainOptions(
            own_out,
            seed,
            resume,
            overwrite,
            allow_leak,
            start,
            allow_scripted_text,
            ensemble_runs=ensemble_runs,
            unpaired=unpaired,
        )
        if isinstance(recipe, FusionRecipe):
            info = train_fusion(recipe, runs, folders, options)
        else:
            info = train_stream(recipe, folders, options)
    if worker.rank == 0:
        report_training(info, out)
    return 0


def _require_first(
    out: Path,
    runs: list[tuple[str, Path]],
    distribute: str | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Checks everything that needs no data, before data are prepared or streams trained.

    Args:
      runs: runs to be read, with the option that names each.
    Raises:
      UserError: one of them is not a run or is inside `out`; or `out` is occupied, in use by
        another program, or holds nothing to resume.
    """
    from affectstream.modeling.runs.run_folder import read_run, require_free, require_outside

    for option, run in runs:
        read_run(run)
        require_outside(run, option, out)
    if distribute is None:  # another worker may have created it
        with atomic_io.folder_lock(out):
            require_free(out, resume, overwrite)


def _require_trained(recipe: Any, runs: dict[str, Path]) -> None:
    """Raises click.UsageError if a stream of a fusion still has to be trained."""
    streams = {registry.entry("recipes", name).stream for name in recipe.stream_recipes}
    if missing := sorted(streams - set(runs)):
        raise click.UsageError(
            f"--distribute trains one model: train {' and '.join(missing)} first, and name the run"
            f" with --{missing[0]}-run"
        )


def _recipe(stream: str | None, name: str | None) -> tuple[str, Any]:
    """Stream and recipe, if only one of them is named."""
    if name is None:
        if stream is None:
            raise click.UsageError("name --stream or --recipe")
        name = DEFAULT_RECIPES[stream]
    recipe = registry.load("recipes", name)
    if stream not in (None, recipe.stream):
        raise click.UsageError(f"recipe {name} is for --stream {recipe.stream}, not {stream}")
    return recipe.stream, recipe


def _start(init_from: Path | None, stream: str, recipe: Any) -> Path | None:
    """The run with initial weights; None for a fusion, whose streams use it."""
    if init_from is None:
        return None
    if stream != "fusion":
        from affectstream.serving.bundled.bundled_models import resolve_init_run

        return resolve_init_run(init_from, stream)
    if not recipe.stream_recipes:
        raise click.UsageError(
            f"--init-from is for what is trained: recipe {recipe.name} has no parts; train each"
            " stream from it, then fuse them with --audio-run and --video-run"
        )
    return None


def _data_of_fusion(runs: dict[str, Path], data: dict[str, list[Path]]) -> list[DataFolder]:
    """Data folders, or the feature tables of all streams as one."""
    from affectstream.preprocessing.dataset.data_folder import open_data_folder

    folders = [open_data_folder(path) for path in data.get("", [])]
    tables = paired_tables(runs, data)
    return folders if tables is None else [tables]
