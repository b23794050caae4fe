"""Choice of the default model when --model is absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.core.errors import UserError
from affectstream.preprocessing.file_kinds import TEXT, media_type

DEFAULT_RUN_NAMES = ("fusion", "audio", "video", "text")


def default_model(files: Sequence[Path], text: str | None = None) -> Path:
    """The bundled model for the inputs, else a run of the user; prints which.

    Args:
      files: recordings, and text files with one utterance per line.
      text: text input; without files, a text model is selected.
    Raises:
      UserError: neither a bundled model nor a run in `runs/`.
    """
    from affectstream.serving.bundled import bundled_models

    name = bundled_models.TEXT if is_text_only(files, text) else bundled_models.EMOTION
    if bundled_models.is_bundled_model(name):
        path = bundled_models.bundled_model_path(name)
        click.echo(
            f"model: {bundled_models.BUNDLED_DIR.name}/{name} ({bundled_models.run_summary(path)});"
            " --model names another",
            err=True,
        )
        return path
    from affectstream.modeling.runs.run_folder import is_run

    for path in (sample_data.RUNS_FOLDER / run for run in DEFAULT_RUN_NAMES):
        if is_run(path):
            click.echo(f"model: {path}", err=True)
            return path
    raise UserError(
        "no model: none of"
        f" {', '.join(f'{sample_data.RUNS_FOLDER}/{run}' for run in DEFAULT_RUN_NAMES)}"
        f" exists, nor {bundled_models.BUNDLED_DIR.name}/{name};"
        " train one (`python cli.py demo` trains three) or name --model"
    )


def is_text_only(files: Sequence[Path], text: str | None) -> bool:
    """Whether the inputs are text only."""
    if not files:
        return text is not None
    return all(media_type(path) == TEXT for path in files)
