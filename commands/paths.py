"""Default places, and the sample corpus that stands in when no data are named."""

from __future__ import annotations

from pathlib import Path

import click

import progress
from preprocessing.data_folder import is_data_folder

SAMPLE_SOURCE = Path("data/sample")
RECORDS = Path("data/records")
RUNS = Path("runs")
EXPORTS = Path("exports")


def ensure_sample(source: Path = SAMPLE_SOURCE) -> Path:
    """Writes the synthetic corpus to `source` unless it is there; returns where it is."""
    from preprocessing.synthesis.corpus import synthesize

    click.echo(f"using the built-in SYNTHETIC sample corpus in {source}", err=True)
    with progress.bar(None, "synthesize", "clip") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        synthesize(source, progress=advance)
    return source


def ensure_records() -> Path:
    """Prepares the sample corpus in the default place when there are no records yet."""
    if is_data_folder(RECORDS):
        return RECORDS
    from cli import main

    if code := main(["preprocess"]):
        raise SystemExit(code)
    return RECORDS
