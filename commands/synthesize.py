"""`synthesize`: the sample corpus, made by this program."""

from __future__ import annotations

from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import LocalOutputPath


@click.command("synthesize")
@click.argument("out", type=LocalOutputPath(path_type=Path))
@click.option(
    "--speakers", type=int, default=8, show_default=True, help="Invented people, 1 to 99."
)
@click.option(
    "--takes", type=int, default=2, show_default=True, help="Of each speaker and emotion, 1 to 4."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Others give other people.")
def command(out: Path, speakers: int, takes: int, seed: int) -> None:
    """Writes the SYNTHETIC sample corpus to OUT: drawn faces, synthesised voices.

    mp4 files of 3 s with RAVDESS-style names, the same for the same seed. Clips of the same
    settings that OUT holds are kept. What is learnt from them says nothing about people.
    """
    clips = sample_data.write_sample(out, speakers, takes, seed)
    click.echo(f"{out}: {len(clips)} SYNTHETIC clips of {speakers} invented speakers")
    click.echo(
        f"next: python cli.py preprocess --corpus sample --source {out} --out"
        f" {sample_data.DEFAULT_DATA_FOLDER}"
    )
