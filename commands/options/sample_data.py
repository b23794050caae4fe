"""Default paths, and the sample corpus that is used if no data are named."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from affectstream.core import progress, registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.dataset.data_folder import (
    CLIPS_FILE,
    DataFolder,
    is_data_folder,
    open_data_folder,
    read_settings,
)

SAMPLE_SOURCE = Path("data/sample")
DEFAULT_DATA_FOLDER = Path("data/records")
RUNS_FOLDER = Path("runs")


def ensure_sample(source: Path = SAMPLE_SOURCE) -> Path:
    """Writes the synthetic corpus to `source` unless it exists; returns its path."""
    click.echo(f"using the built-in SYNTHETIC sample corpus in {source}", err=True)
    write_sample(source)
    return source


def write_sample(
    out: Path, num_speakers: int = 8, num_takes: int = 2, seed: int = 0
) -> tuple[Path, ...]:
    """Writes the synthetic corpus under a progress bar; returns its clips, also existing ones."""
    from affectstream.preprocessing.synthetic.corpus import synthesize

    with progress.bar(None, "synthesize", "clip") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return tuple(synthesize(out, num_speakers, num_takes, seed, progress=advance))


def open_data(path: Path, features: str) -> DataFolder:
    """A data folder, or a feature table of the front end `features`.

    Raises:
      UserError: the path is neither, or damaged.
    """
    from affectstream.preprocessing.dataset.feature_table import (
        is_feature_table,
        open_feature_table,
    )

    if not is_feature_table(path):
        return open_data_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with `features --out {path}`")
    front_end = registry.load("features", features)
    rate_hz = getattr(front_end, "sample_rate_hz", 0)
    return open_feature_table(path, rate_hz, front_end.stream)


def open_paired_tables(tables: dict[str, Path], features: dict[str, str]) -> DataFolder:
    """Feature tables of several streams over the same clips.

    Args:
      tables: stream -> its file.
      features: stream -> name of its front end.
    Raises:
      UserError: a table is missing or damaged, or they disagree.
    """
    from affectstream.preprocessing.dataset.feature_table import FeatureTable
    from affectstream.preprocessing.dataset.paired_tables import pair_tables

    opened = {stream: open_data(path, features[stream]) for stream, path in tables.items()}
    return pair_tables({s: t for s, t in opened.items() if isinstance(t, FeatureTable)})


def ensure_default_data_folder() -> Path:
    """The default data folder; prepares the sample corpus there if there are no records yet.

    Raises:
      click.UsageError: other data exist, see `default_data_folder`.
    """
    records = default_data_folder()
    if is_data_folder(records):
        return records
    click.echo(f"no --data: taking {describe_default_data(records)}", err=True)
    if code := run_command("preprocess"):
        raise UserError(f"preprocess of the sample corpus ended with exit code {code}; see above")
    return records


def default_data_folder(*exclude: Path) -> Path:
    """The default data folder; an error if the user may mean another one.

    Args:
      but: data folders to ignore.
    Raises:
      click.UsageError: other data folders exist; it lists them.
    """
    if others := find_data_folders(DEFAULT_DATA_FOLDER, *exclude):
        known = [*others, *([DEFAULT_DATA_FOLDER] if is_data_folder(DEFAULT_DATA_FOLDER) else [])]
        listed = ", ".join(map(str, known))
        raise click.UsageError(f"name --data: prepared here {_are(len(known))} {listed}")
    return DEFAULT_DATA_FOLDER


def describe_default_data(path: Path) -> str:
    """Describes the default data folder, which may not exist yet."""
    if is_data_folder(path):
        is_sample = read_settings(path).get("synthetic")
        return f"{path}{', a SYNTHETIC corpus' if is_sample else ''}"
    return (
        f"the built-in SYNTHETIC sample corpus, 112 clips written to {SAMPLE_SOURCE} and prepared"
        f" in {path} first (some minutes); scores on it say nothing about people"
    )


def find_data_folders(*exclude: Path) -> list[Path]:
    """Data folders in the current folder and in `data/`, without `but`."""
    candidates = {
        path.parent
        for home in (Path(), DEFAULT_DATA_FOLDER.parent)
        for path in home.glob(f"*/{CLIPS_FILE}")
    }
    left_out = {path.resolve() for path in exclude}
    return sorted(p for p in candidates if is_data_folder(p) and p.resolve() not in left_out)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def run_command(*words: str | int | Path) -> int:
    """Prints and runs another command in this process.

    Args:
      words: name of the command and its arguments.
    Returns:
      its exit code.
    Raises:
      UserError: the error of the command.
    """
    name, *arguments = map(str, words)
    click.echo(f"$ python cli.py {' '.join([name, *arguments])}", err=True)
    command = importlib.import_module(f"affectstream.commands.{name}").command
    try:
        code = command.main(arguments, prog_name=f"python cli.py {name}", standalone_mode=False)
    except click.ClickException as error:
        raise UserError(f"{name}: {error.format_message()}") from error
    return code if isinstance(code, int) else 0
