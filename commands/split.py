"""`split`: who trains, validates and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from commands import paths


@click.command("split")
@click.option("--data", type=click.Path(path_type=Path), default=paths.RECORDS, show_default=True)
@click.option("--test-speakers", metavar="LIST", help="Such as 21-24, or ravdess/21,ravdess/22.")
@click.option("--val-speakers", metavar="LIST", help="Those who validate.")
@click.option("--folds", type=int, help="Cut all speakers into K groups; fold N tests group N.")
@click.option("--fold", type=int, default=1, show_default=True, help="Fold in use, with --folds.")
def command(
    data: Path, test_speakers: str | None, val_speakers: str | None, folds: int | None, fold: int
) -> None:
    """Divides a data folder anew; rewrites splits.json only.

    With either list of speakers the other may be left out: nobody then. Without any option: the
    corpus's official split if it has one, else one speaker in six tests and one in six validates.
    """
    from preprocessing.data_folder import read_rows, require_data_folder, write_splits
    from preprocessing.splits import DEFAULT_RULE, make_splits, parse_speakers, speakers_of

    if folds is None and fold != 1:
        raise click.UsageError("--fold goes with --folds")
    named = test_speakers is not None or val_speakers is not None
    if folds is not None and named:
        raise click.UsageError("--folds and lists of speakers exclude each other")
    rule: dict[str, Any] = DEFAULT_RULE
    if folds is not None:
        rule = {"kind": "folds", "num_folds": folds, "fold": fold}
    elif named:
        rule = {
            "kind": "speakers",
            "test": parse_speakers(test_speakers or "none"),
            "validation": parse_speakers(val_speakers or "none"),
        }
    require_data_folder(data)
    rows = read_rows(data)
    splits = make_splits(rows, rule)
    write_splits(data, splits)
    by_id = {row.id: row for row in rows}
    for split, ids in splits.parts.items():
        speakers = speakers_of(by_id[name] for name in ids)
        click.echo(f"{split}: {len(ids)} records, speakers {', '.join(speakers) or 'unknown/none'}")
    for note in splits.notes:
        click.echo(f"note: {note}")
