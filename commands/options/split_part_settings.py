"""`train` of a fusion: its data by stream, and the runs of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import resolve_path
from affectstream.core import atomic_io, registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import STREAMS
from affectstream.preprocessing.dataset.data_folder import DataFolder


@dataclass(frozen=True)
class PartOptions:
    """Choices of a fusion that its parts are trained with too.

    Attributes:
      init_from: as typed: a run that has the stream of each part, or `pretrained`.
    """

    out: Path
    seed: int
    overwrite: bool
    allow_leak: bool
    init_from: Path | None = None


def data_by_stream(words: tuple[str, ...]) -> dict[str, list[Path]]:
    """`--data` by the stream that it is for, "" for all; a feature table knows its stream."""
    found: dict[str, list[Path]] = {}
    for word in words:
        stream, equals, path = word.partition("=")
        if not (equals and stream in STREAMS):
            stream, path = _stream_of_table(resolve_path(word)), word
        found.setdefault(stream, []).append(resolve_path(path))
    return found


def _stream_of_table(path: Path) -> str:
    """The stream that the features of a table describe; "" for a data folder or unknown origin."""
    from affectstream.preprocessing.dataset.feature_table import (
        is_feature_table,
        stored_features_name,
    )

    name = stored_features_name(path) if is_feature_table(path) else ""
    return registry.entry("features", name).stream if name else ""


def paired_tables(runs: dict[str, Path], data: dict[str, list[Path]]) -> DataFolder | None:
    """The feature tables of all streams of a fusion as one; None where data are recordings.

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
      UserError: a stream without any, or one with several.
    """
    if set(data) != set(streams) or any(len(found) > 1 for found in data.values()):
        wanted = " ".join(f"--data {stream}=TABLE" for stream in streams)
        raise UserError(f"a fusion over feature tables needs one of each stream: {wanted}")
    return {stream: found[0] for stream, found in data.items()}


def split_part_settings(
    settings: tuple[str, ...], recipe: Any
) -> tuple[list[str], dict[str, list[str]]]:
    """`--set` words of the recipe itself, and `STREAM.key=value` words of its parts by stream."""
    streams = {registry.load("recipes", part).stream for part in recipe.parts}
    own: list[str] = []
    of_parts: dict[str, list[str]] = {stream: [] for stream in streams}
    for word in settings:
        stream, dot, rest = word.partition(".")
        if dot and stream in streams:
            of_parts[stream].append(rest)
        else:
            own.append(word)
    return own, of_parts


def train_missing_parts(
    recipe: Any,
    runs: dict[str, Path],
    data: dict[str, list[Path]],
    options: PartOptions,
    settings: dict[str, list[str]],
) -> dict[str, Path]:
    """The runs to fuse: those named, and the parts of the recipe, trained first where needed."""
    out = options.out
    _require_room(recipe, runs, out)
    for part in recipe.parts:
        stream = registry.load("recipes", part).stream
        if stream in runs:
            continue
        runs[stream] = out.with_name(f"{out.name}-{stream}")
        own = data.get(stream, data.get("", []))
        if data and not own:
            raise UserError(f"no --data for {stream}, the part {part}; add --data {stream}=PATH")
        values = [f"labels={recipe.labels}", *settings[stream]]
        state = _state(runs[stream])
        if state == "finished":
            differing = _differing(runs[stream], part, values, own, options)
            if not differing:
                continue
            if not options.overwrite:
                raise UserError(
                    f"{runs[stream]}: trained with another {' and '.join(differing)}; take it all"
                    f" the same by its name (--{stream}-run), choose another --out, or --overwrite"
                )
        words: list[str | int | Path] = ["--recipe", part, "--seed", options.seed]
        words += [word for path in own for word in ("--data", path)]
        words += [word for value in values for word in ("--set", value)]
        words += ["--overwrite"] if state == "finished" else []
        words += ["--resume"] if state == "unfinished" else []
        words += ["--allow-leak"] if options.allow_leak else []
        words += ["--init-from", options.init_from] if options.init_from else []
        # Beside other streams, words of a script are a note, no reason to stop.
        words += ["--allow-scripted-text"] if stream == "text" else []
        if code := sample_data.run_command("train", *words, "--out", runs[stream]):
            raise UserError(f"training {runs[stream]} ended with exit code {code}")
    return runs or _default_runs(data)


def _require_room(recipe: Any, runs: dict[str, Path], out: Path) -> None:
    """Checks, before any training, that the run folders of the parts are free."""
    from affectstream.modeling.runs.run_folder import is_run, require_free

    for part in recipe.parts:
        stream = registry.load("recipes", part).stream
        place = out.with_name(f"{out.name}-{stream}")
        if stream not in runs and not is_run(place):
            require_free(place, resume=False, overwrite=False)


def _differing(
    run: Path, part: str, values: list[str], data: list[Path], options: PartOptions
) -> list[str]:
    """Settings of a finished part that differ from those requested now."""
    from affectstream.modeling.runs.run_folder import read_run

    info = read_run(run)
    recipe = registry.load("recipes", part).with_settings(values)
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
    # By digests: JSON holds tuples as lists.
    digests = [[atomic_io.digest(without_path(one)) for one in held] for held in (now, info.data)]
    return digests[0] == digests[1]


def _has_seen(info: Any, init_from: Path | None) -> bool:
    """Whether the training data of a part include those of its initial run."""
    if init_from is None:
        return True
    from affectstream.modeling.runs.run_folder import read_run
    from affectstream.serving.bundled.bundled_models import resolve_init_run

    start = read_run(resolve_init_run(init_from, info.recipe.stream))
    return start.train_seen.recordings <= info.train_seen.recordings


def _state(run: Path) -> str:
    if not (run / "run.json").is_file():
        return "absent"
    from affectstream.modeling.runs.run_folder import read_run

    return "finished" if read_run(run).finished else "unfinished"


def _default_runs(data: dict[str, list[Path]]) -> dict[str, Path]:
    """Those in `runs/`; trained first, with all defaults, where the sample is all there is.

    Raises:
      click.UsageError: one is not there, and data or runs of the user's own are.
    """
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
    click.echo(
        f"no runs named, and no {' and no '.join(str(runs[name]) for name in absent)}: each is"
        f" trained first, with all defaults, on {sample_data.describe_default_data(source)}",
        err=True,
    )
    for name in absent:
        if code := sample_data.run_command("train", "--stream", name):
            raise UserError(f"training {runs[name]} for the fusion ended with exit code {code}")
    return runs


def _is_of_sample(run: Path) -> bool:
    from affectstream.modeling.runs.run_folder import read_run

    return read_run(run).synthetic
