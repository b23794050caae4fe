"""Shared code of the benchmarks: options, and Markdown tables with the measuring conditions."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.core.registry import names
from affectstream.opencv_model.detectors.auto_detector import open_detector
from affectstream.opencv_model.detectors.detector import FaceDetector

# === Options ===


def parser(
    description: str | None, has_quick: bool = True, section: str = ""
) -> argparse.ArgumentParser:
    """Options that all benchmarks take.

    Args:
      has_quick: False for what trains on real data only.
      section: of a document that the report is a part of, unless another is named.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--out", type=Path, help="also write the table to this file")
    if has_quick:
        text = "tiny synthetic input, a few seconds"
        made.add_argument("--quick", action="store_true", help=text)
    made.add_argument("--work", type=Path, help="where made inputs are kept and found again")
    made.add_argument("--weights-dir", type=Path, help="where detector weights lie")
    if section:
        made.add_argument("--results", type=Path, help="document of which a section is rewritten")
        made.add_argument("--section", default=section, help=f"of it [default: {section}]")
    return made


def training_parser(description: str | None, runs: str, section: str) -> argparse.ArgumentParser:
    """Options of a benchmark that trains missing runs on real data.

    Args:
      runs: the default of `--runs`.
    """
    made = parser(description, has_quick=False, section=section)
    made.add_argument("--runs", type=Path, default=Path(runs), help="[default: %(default)s]")
    return made


def crossval_parser(description: str | None, runs: str, section: str) -> argparse.ArgumentParser:
    """As `training_parser`, of one that trains over folds; it says where by `--workers`."""
    made = training_parser(description, runs, section)
    made.add_argument("--folds", default="5")
    made.add_argument(
        "--workers", type=int, default=0, help="trainings at a time [default: one, in this process]"
    )
    return made


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Ends the program with one line where the user can mend something."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"Error: {error}") from error


@contextlib.contextmanager
def work_folder(chosen: Path | None) -> Iterator[Path]:
    """The folder for made inputs: the chosen one, which stays, or one that is removed."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        yield Path(folder)


def detectors_present(weights_dir: Path | None) -> dict[str, FaceDetector]:
    """Every detector that can be opened without fetching anything, by name."""
    opened = {}
    for name in names("detectors"):
        try:
            opened[name] = open_detector(name, weights_dir, download=False)
        except UserError as error:
            print(f"left out: {name}, {error}", file=sys.stderr)
    return opened


# === Table ===


def machine() -> str:
    """Cores, processor, load and date, for readers of the figures."""
    load = os.getloadavg()[0]
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"{len(os.sched_getaffinity(0))} cores ({_processor()}), load {load:.1f}, {today}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown processor"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def publish(
    title: str,
    module: str,
    words: Sequence[str],
    machine_line: str,
    parts: Sequence[str],
    chosen: argparse.Namespace | None = None,
) -> str:
    """Prints the report on stdout and writes it where the options of `parser` say.

    Args:
      module: name of the benchmark, as in `python -m benchmarks.NAME`.
      words: its arguments.
      machine_line: `machine()` as it was before measuring, so that the load is that of others.
      parts: tables and remarks.
      chosen: options of `parser`; None prints only.
    """
    shown = _without_out(words)
    rooms = [path.parent.name for path in Path(__file__).parent.glob(f"*/{module}.py")]
    command = shlex.join(["python", "-m", ".".join(["benchmarks", *rooms, module]), *shown])
    text = "\n\n".join([f"## {title}", f"`{command}`; {machine_line}.", *parts]) + "\n"
    print(text)
    if chosen is None:
        return text
    if chosen.out is not None:
        atomic_io.write_text(chosen.out, text)
    if getattr(chosen, "results", None) is not None:
        write_section(chosen.results, chosen.section, text)
    return text


def write_section(document: Path, name: str, text: str) -> None:
    """Puts `text` between the lines `<!-- name -->` and `<!-- /name -->` of a document.

    Raises:
      ValueError: the document does not have these two lines, once each and in this order.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    old = document.read_text(encoding="utf-8")
    if old.count(start) != 1 or old.count(end) != 1 or old.index(start) > old.index(end):
        raise ValueError(f"{document}: needs the lines {start.strip()} and {end.strip()} once each")
    before, after = old[: old.index(start) + len(start)], old[old.index(end) :]
    atomic_io.write_text(document, f"{before}\n{text.strip()}\n\n{after}")


def _without_out(words: Sequence[str]) -> list[str]:
    """The arguments without those that only say where things are kept."""
    kept = []
    skip = False
    for word in words:
        if skip or word.startswith(("--out=", "--work=")):
            skip = False
        elif word in ("--out", "--work"):
            skip = True
        else:
            kept.append(word)
    return kept


# === Figures ===


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"
