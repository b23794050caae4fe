"""`export`: a run as SavedModel, alone or in a bundle for TensorFlow Serving, or for LiteRT."""

from __future__ import annotations

from pathlib import Path

import click

from affectstream.commands.options.param_types import LocalOutputPath, OutputPath, StoragePath
from affectstream.core import tf_setup


@click.command("export")
@click.option("--run", type=StoragePath(), required=True, help="Run folder.")
@click.option(
    "--out",
    type=OutputPath(),
    help="Folder that gets OUT/VERSION/; with --format litert NAME.tflite, or a folder for it.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["savedmodel", "litert"]),
    default="savedmodel",
    show_default=True,
    help="litert: one .tflite that starts without TensorFlow, with its labels and config beside it"
    " as .json; batch 1, the model's own window.",
)
@click.option(
    "--serving",
    type=LocalOutputPath(path_type=Path),
    metavar="DIR",
    help="In place of --out: a folder that TensorFlow Serving starts from, with its settings, a"
    " client and a model card; the SavedModel goes to DIR/models/NAME/VERSION/.",
)
@click.option(
    "--name", help="Of the model in DIR. [default: the one there, else from the run folder's name]"
)
@click.option(
    "--text-input",
    type=click.Choice(["string", "token_ids"]),
    default="string",
    show_default=True,
    help="Of a model of words; token_ids leaves the tokeniser to the client, litert needs it.",
)
@click.option("--version", type=click.IntRange(1), help="[default: the next free number]")
def command(
    run: Path,
    out: Path | None,
    kind: str,
    serving: Path | None,
    name: str | None,
    text_input: str,
    version: int | None,
) -> None:
    """Writes one model from raw waveform, uint8 face crops and text to probabilities.

    A SavedModel holds its labels and client settings in assets/. It is compared with the trained
    model before it appears. Nothing is overwritten.
    """
    if (out is None) == (serving is None):
        raise click.UsageError("give either --out or --serving")
    if name is not None and serving is None:
        raise click.UsageError("--name goes with --serving")
    if kind == "litert" and (serving is not None or version is not None):
        raise click.UsageError("--format litert goes with --out alone, without --version")
    # Reports wrong arguments before the slow import of TensorFlow.
    if name is not None:
        from affectstream.serving.exported.version_folder import require_model_name

        require_model_name(name)
    if kind == "litert" and out is not None:
        from affectstream.serving.inference.litert_model import resolve_new_target

        resolve_new_target(run, out)
    tf_setup.import_tensorflow()
    if kind == "litert" and out is not None:
        from affectstream.serving.export.litert_export import export_litert

        click.echo(str(export_litert(run, out, text_input)))
        return
    if serving is not None:
        from affectstream.serving.export.bundle import write_bundle

        click.echo(str(write_bundle(run, serving, name, version, text_input)))
        return
    if out is not None:
        from affectstream.serving.export.savedmodel_export import export

        click.echo(str(export(run, out, version, text_input)))
