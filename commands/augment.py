"""`augment`: a data folder -> one with transformed copies of its training clips."""

from __future__ import annotations

from pathlib import Path

import click

from commands import paths


@click.command("augment")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=paths.RECORDS,
    show_default=True,
    help="Data folder to copy from.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Data folder to write or complete.",
)
@click.option(
    "--transforms",
    metavar="TEXT",
    help="Names with commas between, as in noise:min_snr_db=5,flip; see `list transforms`."
    " [default: all of sound and picture]",
)
@click.option(
    "--copies", type=click.IntRange(1, 1000), default=4, show_default=True, help="Of each clip."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--examples",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Clips to write as pictures and sounds to open.",
)
def command(
    data: Path, out: Path, transforms: str | None, copies: int, seed: int, examples: int
) -> None:
    """Writes a data folder with transformed copies of the training clips.

    It holds every clip of --data as it is; the copies stand in the training part only, so `train`
    and `evaluate` take it like the original. Clips before and after, as pictures and sounds, lie in
    --out/examples. Run again after an interruption, it does only what is missing.
    """
    from data_augmentation import augment
    from preprocessing.data_folder import open_data_folder

    settings = augment.AugmentSettings(
        augment.DEFAULT_TRANSFORMS if transforms is None else transforms, copies, seed
    )
    result = augment.augment(open_data_folder(data), out, settings, examples)
    stamp = " of SYNTHETIC data" if result.synthetic else ""
    click.echo(
        f"{out}: {result.num_clips} clips and {result.num_copies} copies of {result.num_copied}"
        f" training clips{stamp} ({result.num_made} copies made now)"
    )
    if result.num_unchanged:
        click.echo(f"  not written, no draw changed the clip: {result.num_unchanged} copies")
    for split, ids in result.splits.parts.items():
        click.echo(f"  {split}: {len(ids)}")
    for note in result.splits.notes:
        click.echo(f"  note: {note}")
    if examples:
        click.echo(f"  before and after, to open: {out / augment.EXAMPLES}")
