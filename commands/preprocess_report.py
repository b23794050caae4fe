"""What `preprocess` says when it has done something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from preprocessing.action_units import ActionUnitTable
    from preprocessing.clip import Rejection
    from preprocessing.data_folder import ClipRow
    from preprocessing.preprocess import PreprocessResult

MAX_SHOWN = 10


def report(result: PreprocessResult, out: Path, shown: str) -> None:
    """Says what there is now, and what was left out or rejected."""
    rows = result.rows
    click.echo(f"{len(rows)} records in {out} ({result.num_prepared} clips prepared now)")
    for name, count in (
        ("with sound", sum(bool(row.num_samples) for row in rows)),
        (f"with {shown}", sum(bool(row.num_faces) for row in rows)),
        ("with words", sum(bool(row.transcript.strip()) for row in rows)),
    ):
        click.echo(f"  {name}: {count}")
    looked, found = sum(r.num_frames for r in rows), sum(r.num_faces for r in rows)
    if looked:
        click.echo(f"  frames looked at: {looked}, without {shown} (masked): {looked - found}")
    for split, ids in result.splits.parts.items():
        click.echo(f"  {split}: {len(ids)}")
    for note in result.splits.notes:
        click.echo(f"  note: {note}")
    for reason, count in sorted(result.left_out.items()):
        click.echo(f"  left out on purpose: {count} files, {reason}")
    if result.duplicates.groups:
        click.echo(
            f"  equal content: {len(result.duplicates.groups)} groups, for one"
            f" {' = '.join(result.duplicates.groups[0][:3])}"
        )
    for reason, count in sorted(result.duplicates.counts.items()):
        click.echo(f"    left out of training and evaluation: {count} records, {reason}")
    if result.duplicates.kept_in_test:
        click.echo(f"    kept in the official test part: {result.duplicates.kept_in_test} copies")
    _report_remarks(rows, out)
    if report_rejected(result.rejected):
        click.echo(
            f"{len(result.rejected)} inputs rejected, all in {out / 'rejected.csv'}", err=True
        )


def _report_remarks(rows: Sequence[ClipRow], out: Path) -> None:
    """Says of how many records a part could not be decoded, or one of several tracks was used."""
    from preprocessing.preparation import DAMAGE, TRACKS

    for name, title in ((DAMAGE, "damaged"), (TRACKS, "several tracks")):
        told = [row for row in rows if row.attributes.get(name)]
        if told:
            click.echo(
                f"{title}: {len(told)} record{'s' * (len(told) > 1)}, for one {told[0].id}:"
                f" {told[0].attributes[name]}; all in {out / 'clips.csv'} (attribute {name})",
                err=True,
            )


def report_rejected(rejected: Sequence[Rejection]) -> int:
    """Shows the first of them; how many there are."""
    for rejection in rejected[:MAX_SHOWN]:
        click.echo(f"rejected {rejection.path}: {rejection.reason}", err=True)
    return len(rejected)


def report_without_row(result: PreprocessResult, table: ActionUnitTable | None) -> None:
    """Warns of clips of which a table of action units says nothing."""
    if table is not None and result.without_row:
        some = ", ".join(result.without_row[:3])
        click.echo(
            f"warning: {len(result.without_row)} clips have no row in {table.path}, for one {some};"
            " those that are not rejected have no video stream",
            err=True,
        )
