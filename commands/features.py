"""`features`: acoustic features of a prepared corpus, as a table or as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import OutputPath, StoragePath
from affectstream.core import registry
from affectstream.core.errors import pluralize


@click.command("features")
@click.option(
    "--data",
    type=StoragePath(),
    help=f"Data folder that `preprocess` wrote. [default: {sample_data.DEFAULT_DATA_FOLDER}]",
)
@click.option("--out", type=OutputPath(), help="Table: FILE.csv or FILE.parquet.")
@click.option(
    "--features",
    "name",
    type=click.Choice(registry.names("features")),
    default="clip_statistics",
    show_default=True,
    help="Which; of those that give one vector a clip.",
)
@click.option(
    "--spectrograms",
    type=StoragePath(),
    help="Folder for spectrogram pictures, one a clip.",
)
@click.option(
    "--spectrogram-features",
    type=click.Choice(registry.names("features")),
    default="log_mel_128_16k",
    show_default=True,
    help="Which spectrogram.",
)
def command(
    data: Path | None,
    out: Path | None,
    name: str,
    spectrograms: Path | None,
    spectrogram_features: str,
) -> int:
    """Writes acoustic features for pandas and scikit-learn, or spectrogram images.

    The table has the columns clip, speaker, recording, label, split and then the features;
    `train --recipe statistics-resnet1d --data FILE` reads it back without the corpus.
    """
    if out is None and spectrograms is None:
        raise click.UsageError("name --out FILE.csv, --spectrograms DIR or both")
    from affectstream.preprocessing.dataset.data_folder import open_data_folder

    folder = open_data_folder(data or sample_data.ensure_default_data_folder())
    from affectstream.modeling.data.feature_writer import write_features, write_spectrograms

    if out is not None:
        click.echo(f"{out}: {pluralize(write_features(folder, name, out), 'clip')}")
    if spectrograms is not None:
        count = write_spectrograms(folder, spectrogram_features, spectrograms)
        click.echo(f"{spectrograms}: {pluralize(count, 'picture')}")
    return 0
