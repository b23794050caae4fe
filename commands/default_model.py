"""Which model answers when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from commands import paths
from errors import UserError
from preprocessing.file_kinds import TEXT, kind_of

RUN_NAMES = ("fusion", "audio", "video", "text")


def default_model(files: Sequence[Path], text: str | None = None) -> Path:
    """The model in the box for what is asked about, else a run of the user's own; says which.

    Args:
      files: recordings, and text files of one utterance a line.
      text: what is said; without any file, words alone are asked about.
    Raises:
      UserError: neither a model in the box nor a run in `runs/`.
    """
    from serving import boxed

    name = boxed.WORDS if are_words_alone(files, text) else boxed.EMOTION
    if boxed.is_boxed(name):
        path = boxed.boxed(name)
        click.echo(
            f"model: {boxed.HOME.name}/{name} ({boxed.told(path)}); --model names another", err=True
        )
        return path
    from modeling.run_folder import is_run

    for path in (paths.RUNS / run for run in RUN_NAMES):
        if is_run(path):
            click.echo(f"model: {path}", err=True)
            return path
    raise UserError(
        f"no model: none of {', '.join(f'{paths.RUNS}/{run}' for run in RUN_NAMES)} exists, nor"
        f" {boxed.HOME.name}/{name}; train one (`python cli.py demo` trains three) or name --model"
    )


def are_words_alone(files: Sequence[Path], text: str | None) -> bool:
    """Whether nothing but words is asked about."""
    if not files:
        return text is not None
    return all(kind_of(path) == TEXT for path in files)
