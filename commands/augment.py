"""`augment`: a data folder -> one with transformed copies of its training clips."""

from __future__ import annotations

from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import OutputPath, StoragePath
from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_OK, EXIT_PARTIAL, pluralize


@click.command("augment")
@click.option(
    "--data",
    type=StoragePath(),
    help=f"Data folder to copy from. [default: {sample_data.DEFAULT_DATA_FOLDER}]",
)
@click.option(
    "--out",
    type=OutputPath(),
    required=True,
    help="Data folder to write or complete.",
)
@click.option(
    "--transforms",
    metavar="TEXT",
    help="Names with commas between, as in noise:min_snr_db=5,flip; see `list transforms`."
    " [default: all of sound and picture; with --back-translate, none]",
)
@click.option(
    "--back-translate",
    metavar="NAME",
    help="Paraphrase the training texts by translating there and back: google. The texts are sent"
    " to that service.",
)
@click.option(
    "--pivots",
    metavar="LANGUAGES",
    help="Languages to translate into, a paraphrase each. [default: fr,de,es,it,pt]",
)
@click.option("--language", help="Language of the texts. [default: en]")
@click.option(
    "--copies",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Transformed copies of each clip.",
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
    data: Path | None,
    out: Path,
    transforms: str | None,
    back_translate: str | None,
    pivots: str | None,
    language: str | None,
    copies: int,
    seed: int,
    examples: int,
) -> int:
    """Writes a data folder with transformed copies of the training clips.

    It contains every clip of --data unchanged. Copies are in the training split only, so `train`
    and `evaluate` accept it like the original. A copy with other words (by word_dropout, word_swap,
    typo, --back-translate) has neither sound nor picture. Clips before and after, as pictures,
    sounds and words, lie in --out/examples. Run again after an interruption, it does only what is
    missing.
    """
    data = data or sample_data.default_data_folder(out)
    if back_translate is None and (pivots or language):
        raise click.UsageError("--pivots and --language need --back-translate")
    from affectstream.data_augmentation.offline import augment
    from affectstream.data_augmentation.offline.augment_settings import (
        DEFAULT_TRANSFORMS,
        AugmentSettings,
    )
    from affectstream.data_augmentation.offline.back_translation import PIVOTS
    from affectstream.preprocessing.dataset.data_folder import open_data_folder

    default = "" if back_translate else DEFAULT_TRANSFORMS
    settings = AugmentSettings(
        default if transforms is None else transforms,
        copies,
        seed,
        back_translate or "",
        ",".join(PIVOTS) if pivots is None else pivots,
        language or "en",
    )
    folder = open_data_folder(data)
    with atomic_io.folder_lock(out):
        result = augment.augment(folder, out, settings, examples)
    stamp = " of SYNTHETIC data" if result.synthetic else ""
    click.echo(
        f"{out}: {pluralize(result.num_clips, 'clip')} and {pluralize(result.num_copies, 'copy')}"
        f" of {pluralize(result.num_source_clips, 'training clip')}{stamp}"
        f" ({pluralize(result.num_new_copies, 'copy')} made now)"
    )
    if result.num_unchanged:
        click.echo(
            f"  not written, nothing new came out: {pluralize(result.num_unchanged, 'copy')}"
        )
    for split, ids in result.splits.parts.items():
        click.echo(f"  {split}: {len(ids)}")
    for note in result.splits.notes:
        click.echo(f"  note: {note}")
    if examples:
        click.echo(f"  before and after, to open: {out / augment.EXAMPLES}")
    if result.num_rejected_translations:
        click.echo(
            f"warning: {pluralize(result.num_rejected_translations, 'paraphrase')}"
            f" {'was' if result.num_rejected_translations == 1 else 'were'} refused, see"
            f" {out / augment.UNTRANSLATED_FILE}",
            err=True,
        )
        return EXIT_PARTIAL
    return EXIT_OK
