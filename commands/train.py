"""`train`: records -> a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import registry
from commands import paths
from errors import UserError
from preprocessing.clip import STREAMS


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
    f" [default: {paths.RECORDS}]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/STREAM]")
@click.option("--recipe", "recipe_name", type=click.Choice(registry.names("recipes")))
@click.option(
    "--labels",
    type=click.Choice(registry.names("label-sets")),
    help="Label set. [default: the recipe's]",
)
@click.option("--epochs", type=click.IntRange(1))
@click.option("--batch-size", type=click.IntRange(1))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any value of the recipe, encoder or fusion; STREAM.KEY=VALUE for a part; repeatable.",
)
@click.option("--audio-run", type=click.Path(path_type=Path), help="For a fusion.")
@click.option("--video-run", type=click.Path(path_type=Path), help="For a fusion.")
@click.option("--text-run", type=click.Path(path_type=Path), help="For a fusion.")
@click.option("--init-from", type=click.Path(path_type=Path), help="Run to start the weights from.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.")
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Train although something crosses the split; stamped on every result.",
)
@click.option(
    "--allow-fixed-sentences",
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
    init_from: Path | None,
    resume: bool,
    overwrite: bool,
    allow_leak: bool,
    allow_fixed_sentences: bool,
) -> int:
    """Trains one network a stream, or fuses trained streams.

    --data may also be a feature table that `features` wrote, for a recipe of those features.

    `--stream fusion` joins --audio-run, --video-run and --text-run, two at least (default
    runs/audio and runs/video). A recipe with parts trains those that are not named, into OUT-audio
    and so on; `--set audio.KEY=VALUE` and `--data audio=PATH` are for such a part. Runs that were
    trained on different data are fused without paired data, from each one's own validation part,
    unless --data names recordings that have the streams together.
    """
    stream, recipe = _recipe(stream, recipe_name)
    out = out or paths.RUNS / stream
    named = {"audio": audio_run, "video": video_run, "text": text_run}
    runs = {name: path for name, path in named.items() if path is not None}
    folders_of = _data(data)
    if stream != "fusion" and (runs or set(folders_of) - {""}):
        raise click.UsageError("--STREAM-run and --data STREAM=PATH go with --stream fusion")
    given = (("labels", labels), ("epochs", epochs), ("batch_size", batch_size))
    words = [f"{key}={value}" for key, value in given if value]
    own, of_parts = _divided(settings, recipe)
    recipe = recipe.with_settings([*words, *own])
    options = (out, seed, resume, overwrite, allow_leak, init_from, allow_fixed_sentences)
    if stream == "fusion":
        runs = _with_parts(recipe, runs, folders_of, options, of_parts)
        info = _fuse(recipe, runs, folders_of.get("", []), options)
    else:
        chosen = folders_of.get("") or [paths.ensure_records()]
        folders = [paths.open_data(path, recipe.features) for path in chosen]
        from modeling.train_run import TrainOptions
        from modeling.train_stream import train_stream

        info = train_stream(recipe, folders, TrainOptions(*options))
    _report(info, out)
    return 0


def _data(words: tuple[str, ...]) -> dict[str, list[Path]]:
    """`--data` by the stream that it is for, "" for all."""
    found: dict[str, list[Path]] = {}
    for word in words:
        stream, equals, path = word.partition("=")
        own = equals and stream in STREAMS
        found.setdefault(stream if own else "", []).append(Path(path if own else word))
    return found


def _divided(settings: tuple[str, ...], recipe: Any) -> tuple[list[str], dict[str, list[str]]]:
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


def _with_parts(
    recipe: Any,
    runs: dict[str, Path],
    data: dict[str, list[Path]],
    options: tuple[Any, ...],
    settings: dict[str, list[str]],
) -> dict[str, Path]:
    """The runs to fuse: those named, and the parts of the recipe, trained first where needed."""
    out, seed = options[0], options[1]
    for part in recipe.parts:
        stream = registry.load("recipes", part).stream
        if stream in runs:
            continue
        runs[stream] = out.with_name(f"{out.name}-{stream}")
        state = _state(runs[stream])
        if state == "finished":
            continue
        words: list[str | int | Path] = ["--recipe", part, "--labels", recipe.labels]
        own = data.get(stream, data.get("", []))
        words += [word for path in own for word in ("--data", path)]
        words += [word for value in settings[stream] for word in ("--set", value)]
        words += ["--resume"] if state == "unfinished" else []
        words += ["--allow-leak"] if options[4] else []
        words += ["--allow-fixed-sentences"] if options[6] else []
        if code := paths.run_command("train", *words, "--out", runs[stream], "--seed", seed):
            raise UserError(f"training {runs[stream]} ended with exit code {code}")
    return runs or {name: _default_run(name) for name in ("audio", "video")}


def _state(run: Path) -> str:
    if not (run / "run.json").is_file():
        return "absent"
    from modeling.run_folder import read_run

    return "finished" if read_run(run).finished else "unfinished"


def _recipe(stream: str | None, name: str | None) -> tuple[str, Any]:
    """Stream and recipe from what was named of the two."""
    from modeling.recipes import DEFAULTS

    if name is None:
        if stream is None:
            raise click.UsageError("name --stream or --recipe")
        name = DEFAULTS[stream]
    recipe = registry.load("recipes", name)
    if stream not in (None, recipe.stream):
        raise click.UsageError(f"recipe {name} is for --stream {recipe.stream}, not {stream}")
    return recipe.stream, recipe


def _fuse(recipe: Any, runs: dict[str, Path], data: list[Path], options: tuple[Any, ...]) -> Any:
    from preprocessing.data_folder import open_data_folder

    folders = [open_data_folder(path) for path in data]
    from modeling.train_fusion import train_fusion
    from modeling.train_run import TrainOptions

    return train_fusion(recipe, runs, folders, TrainOptions(*options))


def _default_run(stream: str) -> Path:
    """runs/STREAM; trained first, with all defaults, when it is not there."""
    path = paths.RUNS / stream
    if not (path / "run.json").is_file() and (
        code := paths.run_command("train", "--stream", stream)
    ):
        raise UserError(f"training {path} for the fusion ended with exit code {code}")
    return path


def _report(info: Any, out: Path) -> None:
    stamps = " | SYNTHETIC data" if info.synthetic else ""
    stamps += " | LEAK ALLOWED" if info.leak_allowed else ""
    if info.scores:
        epoch = f" at epoch {info.scores['epoch']}" if "epoch" in info.scores else ""
        click.echo(
            f"{out}: validation UAR {info.scores['val_uar']:.3f},"
            f" WA {info.scores['val_wa']:.3f}{epoch}{stamps}"
        )
    else:
        click.echo(f"{out}: written{stamps}")
    for note in info.notes:
        click.echo(f"note: {note}")
