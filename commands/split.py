"""`split`: assigns speakers or sessions to training, validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import StoragePath
from affectstream.core.errors import pluralize


@click.command("split")
@click.option(
    "--data", type=StoragePath(), help=f"Data folder. [default: {sample_data.DEFAULT_DATA_FOLDER}]"
)
@click.option("--test-speakers", metavar="LIST", help="Such as 21-24, or ravdess/21,ravdess/22.")
@click.option("--val-speakers", metavar="LIST", help="Those who validate.")
@click.option("--test-sessions", metavar="LIST", help="Such as 5: whole sessions (iemocap).")
@click.option("--val-sessions", metavar="LIST", help="Those that validate.")
@click.option("--folds", type=int, help="Cut all speakers into K groups; fold N tests group N.")
@click.option(
    "--group-by",
    type=click.Choice(["speaker", "session"]),
    help="What --folds keeps together. [default: speaker]",
)
@click.option(
    "--adaptation-split",
    is_flag=True,
    help="Of each speaker and class one recording validates, all others train, none tests: to"
    " adapt a model to people of your own (train --init-from).",
)
@click.option("--fold", type=int, default=1, show_default=True, help="Fold in use, with --folds.")
def command(
    data: Path | None,
    test_speakers: str | None,
    val_speakers: str | None,
    test_sessions: str | None,
    val_sessions: str | None,
    folds: int | None,
    group_by: str | None,
    adaptation_split: bool,
    fold: int,
) -> None:
    """Divides a data folder anew; rewrites splits.json only.

    With either list of speakers, or of sessions, the other may be left out: nobody then. Without
    any option: the corpus's official split if it has one, else one speaker in six tests and one in
    six validates.
    """
    from affectstream.preprocessing.dataset.data_folder import (
        read_rows,
        require_data_folder,
        write_splits,
    )
    from affectstream.preprocessing.dataset.splits import make_splits, speakers_of

    if folds is None and fold != 1:
        raise click.UsageError("--fold goes with --folds")
    if folds is None and group_by is not None:
        raise click.UsageError("--group-by goes with --folds; name sessions with --test-sessions")
    named = (test_speakers, val_speakers), (test_sessions, val_sessions)
    rule = _rule(*named, folds, group_by, fold, adaptation_split)
    data = data or sample_data.default_data_folder()
    require_data_folder(data)
    _require_whole_rows(data)
    rows = read_rows(data)
    splits = make_splits(rows, rule)
    write_splits(data, splits)
    by_id = {row.id: row for row in rows}
    for split, ids in splits.parts.items():
        speakers = speakers_of(by_id[name] for name in ids)
        told = ", ".join(speakers) or "unknown/none"
        click.echo(f"{split}: {pluralize(len(ids), 'record')}, speakers {told}")
    for note in splits.notes:
        click.echo(f"note: {note}")


def _require_whole_rows(data: Path) -> None:
    """Requires an intact clips.csv; a damaged splits.json is rewritten."""
    from affectstream.core.errors import UserError
    from affectstream.preprocessing.dataset.data_folder import read_splits, require_unchanged_clips

    try:
        read_splits(data)
    except UserError:
        return
    require_unchanged_clips(data)


def _rule(
    speakers: tuple[str | None, str | None],
    sessions: tuple[str | None, str | None],
    folds: int | None,
    group_by: str | None,
    fold: int,
    adaptation_split: bool,
) -> dict[str, Any]:
    """The split rule of the options; lists are (test, validation)."""
    from affectstream.preprocessing.dataset.splits import (
        ADAPTATION_RULE,
        DEFAULT_RULE,
        parse_speakers,
    )

    lists = {"speakers": speakers, "sessions": sessions}
    named = [kind for kind, words in lists.items() if words != (None, None)]
    if adaptation_split and (named or folds is not None):
        raise click.UsageError("--adaptation-split goes with none of the others")
    if adaptation_split:
        return ADAPTATION_RULE
    if len(named) > 1:
        raise click.UsageError("lists of speakers and of sessions exclude each other")
    if folds is not None and named:
        raise click.UsageError(f"--folds and lists of {named[0]} exclude each other")
    if folds is not None:
        grouped = {"by": group_by} if group_by == "session" else {}
        return {"kind": "folds", "num_folds": folds, "fold": fold, **grouped}
    if named:
        test, validation = (parse_speakers(words or "none") for words in lists[named[0]])
        return {"kind": named[0], "test": test, "validation": validation}
    return DEFAULT_RULE
