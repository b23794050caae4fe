"""`export`: a run as SavedModel."""

from __future__ import annotations

from pathlib import Path

import click

import quiet


@click.command("export")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder that gets OUT/VERSION/."
)
@click.option(
    "--text-input",
    type=click.Choice(["string", "token_ids"]),
    default="string",
    show_default=True,
    help="Of a model of words; token_ids leaves the tokeniser to the client.",
)
@click.option("--version", type=click.IntRange(1), help="[default: the next free number]")
def command(run: Path, out: Path, text_input: str, version: int | None) -> None:
    """Writes one SavedModel from raw waveform, uint8 face crops and text to probabilities.

    Labels and all that a client must do alike lie inside it, in assets/. It is checked against the
    trained model before it becomes visible; a version is never overwritten.
    """
    quiet.import_tensorflow()
    from serving.export import export

    click.echo(str(export(run, out, version, text_input)))
