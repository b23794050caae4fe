"""The report that `preprocess` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affectstream.commands.reports.failures import print_first
from affectstream.core.errors import pluralize
from affectstream.core.templates import render
from affectstream.preprocessing.corpora.manifest import MANIFEST_PREFIX
from affectstream.preprocessing.dataset.splits import NO_SPEAKERS
from affectstream.preprocessing.file_kinds import format_suffix_counts
from affectstream.preprocessing.speech_to_text.transcript_cache import TRANSCRIBED_BY

if TYPE_CHECKING:
    from affectstream.preprocessing.clip import Rejection
    from affectstream.preprocessing.dataset.data_folder import ClipRow
    from affectstream.preprocessing.faces.action_units import ActionUnitTable
    from affectstream.preprocessing.records.preprocess import PreprocessResult

REPORTS = "affectstream.commands.reports"


def report(result: PreprocessResult, out: Path, shown: str) -> None:
    """Prints the contents of the data folder, and excluded or rejected inputs."""
    from affectstream.preprocessing.records.record_builder import DAMAGE, TRACKS

    rows = result.rows
    text = render(
        REPORTS,
        "preprocess.txt.j2",
        result=result,
        rows=rows,
        out=out,
        shown=shown,
        num_with_words=sum(bool(row.transcript.strip()) for row in rows),
        passed_over=format_suffix_counts(result.ignored_suffixes),
        num_unknown=_num_unknown_speakers(result),
        cut=_cut_transcripts(rows),
    )
    click.echo(text, nl=False)
    remarks = [
        (name, title, [row for row in rows if row.attributes.get(name)])
        for name, title in ((DAMAGE, "damaged"), (TRACKS, "several tracks"))
    ]
    click.echo(
        render(REPORTS, "preprocess_warnings.txt.j2", remarks=remarks, out=out), nl=False, err=True
    )
    if report_rejected(result.rejected):
        click.echo(
            f"{pluralize(len(result.rejected), 'input')} rejected, all in {out / 'rejected.csv'}",
            err=True,
        )


def _num_unknown_speakers(result: PreprocessResult) -> int:
    """Number of records whose unknown speaker may surprise the user."""
    rows = result.rows
    unknown = sum(not row.speaker for row in rows)
    # Some corpora never have speakers. In a user's own table they may be forgotten.
    is_news = unknown < len(rows) or rows[0].corpus.partition("-")[0] == MANIFEST_PREFIX
    return unknown if is_news and NO_SPEAKERS not in result.splits.notes else 0


def _cut_transcripts(rows: Sequence[ClipRow]) -> list[int]:
    """Number of records of each cut clip whose one transcript is repeated in all of them."""
    own = (row for row in rows if row.transcript.strip() and TRANSCRIBED_BY not in row.attributes)
    return [count for count in Counter(row.path for row in own).values() if count > 1]


def report_rejected(rejected: Sequence[Rejection]) -> int:
    """Prints the first rejections and their number."""
    print_first("rejected", ((one.path, one.reason) for one in rejected))
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
