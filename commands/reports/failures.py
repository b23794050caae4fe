"""Prints the first failures on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import click

MAX_SHOWN = 10


def print_first(what: str, failures: Iterable[tuple[str, str]]) -> None:
    """Prints failures with their reasons, ten at most.

    Args:
      failures: name and reason of each.
    """
    for name, reason in islice(failures, MAX_SHOWN):
        click.echo(f"{what} {name}: {reason}", err=True)
