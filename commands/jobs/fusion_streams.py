"""`train` of a fusion: its data by stream, and the runs of its streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import resolve_path
from affectstream.commands.reports.training_report import report_training
from affectstream.core import atomic_io, registry, tf_setup
from affectstream.core.errors import UserError
from affectstream.modeling.recipes.recipe import DEFAULT_RECIPES, Recipe, StreamRecipe
from affectstream.preprocessing.clip import STREAMS
from affectstream.preprocessing.dataset.data_folder import DataFolder


@dataclass(frozen=True)
class SharedOptions:
    """Options of a fusion that also apply to the training of its streams.

    Attributes:
      out: run folder of the fusion; its streams use OUT-STREAM.
      init_from: typed value: a run with each stream, or `pretrained`.
    """

    out: Path
    seed: int
    overwrite: bool
    allow_leak: bool
    init_from: Path | None = None


def data_by_stream(words: tuple[str, ...]) -> dict[str, list[Path]]:
    """Groups `--data` by stream, "" for all; a feature table determines its stream."""
    by_stream: dict[str, list[Path]] = {}
    for word in words:
        stream, equals, path = word.partition("=")
        if not (equals and stream in STREAMS):
            stream, path = _stream_of_table(resolve_path(word)), word
        by_stream.setdefault(stream, []).append(resolve_path(path))
    return by_stream


def _stream_of_table(path: Path) -> str:
    """The stream that the features of a table describe; "" for a data folder or unknown origin."""
    from affectstream.preprocessing.dataset.feature_table import (
        is_feature_table,
        stored_features_name,
    )

    name = stored_features_name(path) if is_feature_table(path) else ""
    return registry.entry("features", name).stream if name else ""


def paired_tables(runs: dict[str, Path], data: dict[str, list[Path]]) -> DataFolder | None:
    """The feature tables of all streams of a fusion as one; None if the data are recordings.

    Raises:
      UserError: tables for some streams only, several for one, or tables that disagree.
    """
    from affectstream.preprocessing.dataset.feature_table import is_feature_table

    if not any(is_feature_table(path) for found in data.values() for path in found):
        return None
    tables = one_table_per_stream(data, tuple(runs))
    from affectstream.modeling.runs.run_folder import read_run

    features = {stream: read_run(path).recipe.features for stream, path in runs.items()}
    return sample_data.open_paired_tables(tables, features)


def one_table_per_stream(data: dict[str, list[Path]], streams: tuple[str, ...]) -> dict[str, Path]:
    """The one feature table of each stream.

    Raises:
      UserError: a stream without a table, or with several.
    """
    if set(data) != set(streams) or any(len(found) > 1 for found in data.values()):
        wanted = " ".join(f"--data {stream}=TABLE" for stream in streams)
        raise UserError(f"a fusion over feature tables needs one of each stream: {wanted}")
    return {stream: found[0] for stream, found in data.items()}


def train_missing_streams(
    recipe: Recipe,
    runs: dict[str, Path],
    data: dict[str, list[Path]],
    options: SharedOptions,
    settings: dict[str, list[str]],
) -> dict[str, Path]:
    """The runs to fuse: the named ones, and the other streams of the recipe, trained if necessary.

    Args:
      data: by stream, "" for all.
      settings: `key=value` words by stream.
    Raises:
      UserError: an occupied run folder, no data for a stream, or a run with other settings.
    """
    _require_room(recipe, runs, options.out)
    for name in recipe.stream_recipes:
        stream = registry.entry("recipes", name).stream
        if stream in runs:
            continue
        out = runs[stream] = options.out.with_name(f"{options.out.name}-{stream}")
        stream_data = data.get(stream, data.get("", []))
        if data and not stream_data:
            raise UserError(f"no --data for {stream}, the part {name}; add --data {stream}=PATH")
        chosen: StreamRecipe = registry.load("recipes", name).with_settings(
            [f"labels={recipe.labels}", *settings[stream]]
        )
        state = _state(out)
        if state == "finished":
            differing = _differing(out, chosen, stream_data, options)
            if not differing:
                continue
            if not options.overwrite:
                raise UserError(
                    f"{out}: trained with another {' and '.join(differing)}; take it all the same"
                    f" by its name (--{stream}-run), choose another --out, or --overwrite"
                )
        _train_stream(chosen, stream_data, out, state, options)
    return runs or _default_runs(data, options)


def _train_stream(
    recipe: StreamRecipe, data: list[Path], out: Path, state: str, options: SharedOptions
) -> None:
    """Trains one stream of a fusion, or resumes it; without data on the default data folder."""
    paths = data or [sample_data.ensure_default_data_folder()]
    folders = [sample_data.open_data(path, recipe.features) for path in paths]
    click.echo(f"training {recipe.stream} for the fusion: {recipe.name}, {out}", err=True)
    tf_setup.import_tensorflow()
    from affectstream.modeling.training.train_stream import train_stream
    from affectstream.modeling.training.training_steps import TrainOptions
    from affectstream.serving.bundled.bundled_models import resolve_init_run

    start = resolve_init_run(options.init_from, recipe.stream) if options.init_from else None
    stream_options = TrainOptions(
        out,
        options.seed,
        resume=state == "unfinished",
        overwrite=state == "finished",
        allow_leak=options.allow_leak,
        init_from=start,
        # With other streams, scripted text is a note and not an error.
        allow_scripted_text=recipe.stream == "text",
    )
    with atomic_io.folder_lock(out):
        report_training(train_stream(recipe, folders, stream_options), out)


def _require_room(recipe: Recipe, runs: dict[str, Path], out: Path) -> None:
    """Checks, before any training, that the run folders of the streams are free."""
    from affectstream.modeling.runs.run_folder import is_run, require_free

    for name in recipe.stream_recipes:
        stream = registry.entry("recipes", name).stream
        place = out.with_name(f"{out.name}-{stream}")
        if stream not in runs and not is_run(place):
            require_free(place, resume=False, overwrite=False)


def _differing(
    run: Path, recipe: StreamRecipe, data: list[Path], options: SharedOptions
) -> list[str]:
    """Settings of a finished stream that differ from those requested now."""
    from affectstream.modeling.runs.run_folder import read_run

    info = read_run(run)
    differs = {
        "recipe": info.recipe != recipe,
        "seed": info.seed != options.seed,
        "start": not _has_seen(info, options.init_from),
        "data": bool(data) and not _was_trained_on(info, data, recipe.features),
    }
    return [name for name, other in differs.items() if other]


def _was_trained_on(info: Any, data: list[Path], features: str) -> bool:
    """Whether a run was trained on the same data and split, whatever their path."""
    from affectstream.modeling.runs.run_folder import describe_data, without_path

    now = describe_data(tuple(sample_data.open_data(path, features) for path in data))
    # Compared by digest, because JSON stores tuples as lists.
    digests = [[atomic_io.digest(without_path(one)) for one in held] for held in (now, info.data)]
    return digests[0] == digests[1]


def _has_seen(info: Any, init_from: Path | None) -> bool:
    """Whether the training data of a stream include those of its initial run."""
    if init_from is None:
        return True
    from affectstream.modeling.runs.run_folder import read_run
    from affectstream.serving.bundled.bundled_models import resolve_init_run

    start = read_run(resolve_init_run(init_from, info.recipe.stream))
    return start.train_footprint.recordings <= info.train_footprint.recordings


def _state(run: Path) -> str:
    if not (run / "run.json").is_file():
        return "absent"
    from affectstream.modeling.runs.run_folder import read_run

    return "finished" if read_run(run).finished else "unfinished"


def _default_runs(data: dict[str, list[Path]], options: SharedOptions) -> dict[str, Path]:
    """The default runs in `runs/`; trained first with all defaults if only the sample exists.

    Raises:
      click.UsageError: a run is missing, and the user has other data or runs.
    """
    from affectstream.modeling.runs.run_folder import require_free

    runs = {name: sample_data.RUNS_FOLDER / name for name in ("audio", "video")}
    absent = [name for name, path in runs.items() if not (path / "run.json").is_file()]
    if not absent:
        click.echo(f"no runs named: fusing {' and '.join(map(str, runs.values()))}", err=True)
        return runs
    if data or not all(_is_of_sample(path) for name, path in runs.items() if name not in absent):
        first = absent[0]
        raise click.UsageError(
            f"no {' and no '.join(str(runs[name]) for name in absent)} to fuse; train it (`train"
            f" --stream {first} --data PATH`), or name a run with --{first}-run"
        )
    source = sample_data.default_data_folder()
    for name in absent:
        require_free(runs[name], resume=False, overwrite=False)
    click.echo(
        f"no runs named, and no {' and no '.join(str(runs[name]) for name in absent)}: each is"
        f" trained first, with all defaults, on {sample_data.describe_default_data(source)}",
        err=True,
    )
    plain = SharedOptions(options.out, seed=0, overwrite=False, allow_leak=False)
    for name in absent:
        default = registry.load("recipes", DEFAULT_RECIPES[name])
        _train_stream(default, [], runs[name], "absent", plain)
    return runs


def _is_of_sample(run: Path) -> bool:
    from affectstream.modeling.runs.run_folder import read_run

    return read_run(run).synthetic
