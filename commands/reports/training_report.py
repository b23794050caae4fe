"""Final report of `train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from affectstream.modeling.runs.run_folder import RunInfo


def report_training(info: RunInfo, out: Path) -> None:
    """Prints the validation scores of a trained run, its stamps and notes."""
    stamps = " | SYNTHETIC data" if info.synthetic else ""
    stamps += " | LEAK ALLOWED" if info.leak_allowed else ""
    if info.scores:
        epoch = f" at epoch {info.scores['epoch']}" if "epoch" in info.scores else ""
        if info.recipe.is_ensemble:  # its networks have their own epochs
            epoch = info.recipe.ensemble_label
        click.echo(
            f"{out}: validation UAR {info.scores['val_uar']:.3f},"
            f" WA {info.scores['val_wa']:.3f}{epoch}{stamps}"
        )
    else:
        click.echo(f"{out}: written{stamps}")
    for note in info.notes:
        click.echo(f"note: {note}")
