"""Measured figures of scaling, kept as JSON: benchmarks write them, the simulation reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io
from affectstream.core.errors import UserError

DEFAULT = Path("docs/contributing/scaling_costs.json")


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--costs`, where the figures lie."""
    parser.add_argument("--costs", type=Path, help=f"figures for the simulation, as {DEFAULT}")


def write(path: Path | None, section: str, machine: str, values: dict[str, Any]) -> None:
    """Puts the figures of one benchmark in place of those of its last run."""
    if path is None:
        return
    known = atomic_io.read_json(path) if path.is_file() else {}
    known[section] = {"machine": machine, **values}
    atomic_io.write_json(path, dict(sorted(known.items())))


def read(path: Path, *needed: str) -> dict[str, Any]:
    """All sections.

    Raises:
      UserError: absent or damaged, or without a section that is needed.
    """
    known = dict(atomic_io.read_json(path))
    for section in needed:
        if section not in known:
            told = f"{path}: no figures of {section}; measure them first with --costs {path}"
            raise UserError(told)
    return known


def rounded(value: float, digits: int = 4) -> float:
    """So many significant digits, for a file that people read."""
    return float(f"{value:.{digits}g}")
