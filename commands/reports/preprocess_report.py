"""The report that `preprocess` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affectstream.core.errors import pluralize
from affectstream.preprocessing.corpora.manifest import MANIFEST_PREFIX
from affectstream.preprocessing.dataset.splits import NO_SPEAKERS
from affectstream.preprocessing.file_kinds import format_suffix_counts
from affectstream.preprocessing.speech_to_text.transcript_cache import TRANSCRIBED_BY

if TYPE_CHECKING:
    from affectstream.preprocessing.clip import Rejection
    from affectstream.preprocessing.dataset.data_folder import ClipRow
    from affectstream.preprocessing.faces.action_units import ActionUnitTable
    from affectstream.preprocessing.records.preprocess import PreprocessResult

MAX_SHOWN = 10


def report(result: PreprocessResult, out: Path, shown: str) -> None:
    """Says what there is now, and what was left out or rejected."""
    rows = result.rows
    rejected = f", {len(result.rejected)} rejected" if result.rejected else ""
    click.echo(f"{pluralize(len(rows), 'record')} in {out}{rejected}; {_work_done(result)}")
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
    for reason, count in sorted(result.skipped.items()):
        click.echo(f"  left out on purpose: {pluralize(count, 'file')}, {reason}")
    if line := format_suffix_counts(result.ignored_suffixes):
        click.echo(f"  passed over: {line}")
    for note in _notes(result):
        click.echo(f"  note: {note}")
    if result.duplicates.groups:
        click.echo(
            f"  equal content: {pluralize(len(result.duplicates.groups), 'group')}, for one"
            f" {' = '.join(result.duplicates.groups[0][:3])}"
        )
    for reason, count in sorted(result.duplicates.counts.items()):
        click.echo(
            f"    left out of training and evaluation: {pluralize(count, 'record')}, {reason}"
        )
    if result.duplicates.num_kept_in_test:
        click.echo(
            "    kept in the official test part:"
            f" {pluralize(result.duplicates.num_kept_in_test, 'copy')}"
        )
    _report_remarks(rows, out)
    if report_rejected(result.rejected):
        click.echo(
            f"{pluralize(len(result.rejected), 'input')} rejected, all in {out / 'rejected.csv'}",
            err=True,
        )


def _work_done(result: PreprocessResult) -> str:
    """Number of clips read in this run; a clip may give several records or none."""
    if not result.num_prepared:
        return "no clip was read now, all were there already"
    return f"{pluralize(result.num_prepared, 'clip')} read now"


def _notes(result: PreprocessResult) -> Iterator[str]:
    """Notes on records that may surprise the user, with their consequence."""
    rows = result.rows
    unknown = sum(not row.speaker for row in rows)
    # A corpus without any speakers is known for it; of a table of one's own they may be forgotten.
    is_news = unknown < len(rows) or rows[0].corpus.partition("-")[0] == MANIFEST_PREFIX
    if unknown and is_news and NO_SPEAKERS not in result.splits.notes:
        yield (
            f"speaker unknown: {unknown} of {pluralize(len(rows), 'record')}; the same person may"
            " be in training and in test"
        )
    own = (row for row in rows if row.transcript.strip() and TRANSCRIBED_BY not in row.attributes)
    stretches = Counter(row.path for row in own)
    several = {path: count for path, count in stretches.items() if count > 1}
    if several:
        yield (
            f"longer than --max-clip-s: {pluralize(len(several), 'clip')} with a transcript, cut"
            f" into {sum(several.values())} records that each hold all of it; raise --max-clip-s,"
            " or give each stretch a row of its own with its words"
        )


def _report_remarks(rows: Sequence[ClipRow], out: Path) -> None:
    """Reports records that were decoded in part, or from one of several tracks."""
    from affectstream.preprocessing.records.record_builder import DAMAGE, TRACKS

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
    """Warns of clips without a row in the table of action units."""
    if table is not None and result.clips_without_action_units:
        some = ", ".join(result.clips_without_action_units[:3])
        verb = "has" if len(result.clips_without_action_units) == 1 else "have"
        click.echo(
            f"warning: {pluralize(len(result.clips_without_action_units), 'clip')} {verb} no row in"
            f" {table.path}, for one {some}; those that are not rejected have no video stream",
            err=True,
        )
