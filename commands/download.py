"""`download`: a corpus that may be fetched freely."""

from __future__ import annotations

from pathlib import Path

import click

from affectstream.commands.options.param_types import LocalOutputPath
from affectstream.commands.reports.failures import print_first
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL
from affectstream.preprocessing.download.publishers import DOWNLOADABLE, MANUAL_ONLY


class ActorRange(click.ParamType):
    """Numbers as "1-3,7"."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for piece in str(value).split(","):
            first, _, last = piece.strip().partition("-")
            last = last or first
            if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 10_000):
                self.fail(f"{value!r} is no list of numbers like 1-3,7", param, ctx)
            found.update(range(int(first), int(last) + 1))
        return tuple(sorted(found))


@click.command("download")
@click.argument("name", type=click.Choice([*DOWNLOADABLE, *MANUAL_ONLY]))
@click.option(
    "--out",
    type=LocalOutputPath(path_type=Path, file_okay=False),
    required=True,
    help="Corpus folder to make or complete.",
)
@click.option(
    "--actors", type=ActorRange(), default=(), help="Only these, as 1-3,7 (ravdess, crema_d)."
)
@click.option(
    "--stream",
    type=click.Choice(["audio", "video"]),
    default="audio",
    show_default=True,
    help="Sound files, or the much larger files with picture and sound.",
)
@click.option(
    "--mirror",
    default="",
    metavar="URL",
    help="Scheme and host that stand in for the publisher's, with the same paths.",
)
def command(name: str, out: Path, actors: tuple[int, ...], stream: str, mirror: str) -> int:
    """Fetches corpus NAME from its publisher, checks it and unpacks it into --out.

    Interrupted or broken off, the same command goes on where it was. For a corpus that its
    publisher gives out on request only, it says where to ask. Mind each corpus's licence.
    """
    from affectstream.preprocessing.download.corpus_download import download
    from affectstream.preprocessing.download.remote_item import DownloadRequest

    if mirror and not mirror.startswith(("http://", "https://")):
        raise click.UsageError(f"--mirror {mirror}: begin it with http:// or https://")
    result = download(name, out, DownloadRequest(actors, stream, mirror))
    there = f"{result.num_fetched} fetched now, {result.num_present} there already"
    print_first("failed", result.failures)
    if result.failures:
        untried = f", {result.num_untried} not tried after that" if result.num_untried else ""
        click.echo(
            f"{len(result.failures)} failed{untried}; run the same command again, or fetch by hand:"
            f" {DOWNLOADABLE[name].manual_download}",
            err=True,
        )
        if not result.num_fetched + result.num_present:
            return EXIT_FAILURE
    click.echo(f"{name} in {out}: {there}")
    if result.note and result.num_fetched:
        click.echo(f"  note: {result.note}")
    click.echo(f"  next: python cli.py preprocess --corpus {name} --source {out}")
    return EXIT_PARTIAL if result.failures else EXIT_OK
