"""Options that choose the engine for independent tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from affectstream.commands.options.param_types import FiniteRange

if TYPE_CHECKING:
    from affectstream.parallel.tasks import Engine

ENGINE_OPTIONS = (
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
)


def engine_options(workers_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--engine`, `--address` and `--workers`."""
    workers = click.option("--workers", type=click.IntRange(0), help=workers_help)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((*ENGINE_OPTIONS, workers)):
            command = option(command)
        return command

    return decorate


def limit_options(
    timeout_help: str, memory_limit_help: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--timeout-s` and `--memory-limit-gb`, limits of a process that reads recordings."""
    seconds = click.option(
        "--timeout-s",
        type=FiniteRange(1, 86_400),
        default=300,
        show_default=True,
        help=timeout_help,
    )
    memory = click.option(
        "--memory-limit-gb",
        type=FiniteRange(0.5, 1024),
        default=4,
        show_default=True,
        help=memory_limit_help,
    )
    return lambda command: seconds(memory(command))


def make_engine(
    name: str, address: str | None, workers: int | None, default_workers: int | None = None
) -> Engine:
    """The engine that the user chose.

    Args:
      default_workers: on this machine; 0 for this process alone; None for one per core.
    """
    if address is not None and name != "ray":
        raise click.UsageError("--address names a Ray cluster; add --engine ray")
    if address is not None and workers is not None:
        raise click.UsageError("--workers: a cluster that runs already has its own number")
    if name == "ray":
        from affectstream.parallel.ray_cluster import RayCluster

        if workers == 0:
            raise click.UsageError("--workers 0 is for --engine local")
        return RayCluster(address or "", workers)
    from affectstream.parallel.process_pool import ProcessPoolEngine
    from affectstream.parallel.serial import SerialEngine

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if default_workers is None else default_workers
    return ProcessPoolEngine(workers) if workers else SerialEngine()
