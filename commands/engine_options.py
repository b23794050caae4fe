"""Options that say where independent pieces of work run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engines.tasks import Engine

_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Processes of this machine, or a Ray cluster (requirements-cluster.txt).",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT|auto",
        help="Head of a running cluster; without it --engine ray starts one of this machine.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(0),
        help="Processes; 0 reads in this one, which a recording may then crash. [default: number"
        " of cores]",
    ),
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--engine`, `--address` and `--workers`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_of(name: str, address: str | None, workers: int | None) -> Engine:
    """The engine that was chosen."""
    if address is not None and name != "ray":
        raise click.UsageError("--address is of a Ray cluster; add --engine ray")
    if address is not None and workers is not None:
        raise click.UsageError("--workers: a cluster that runs already has its own number")
    if name == "ray":
        from engines.ray_cluster import RayCluster

        if workers == 0:
            raise click.UsageError("--workers 0 is for --engine local")
        return RayCluster(address or "", workers)
    from engines.here import Here
    from engines.local import Local

    return Here() if workers == 0 else Local(workers or len(os.sched_getaffinity(0)))
