"""`preprocess` of 1, 2, 4 and 8 copies of a corpus: is time linear and memory flat?

Sizes run in turn, upwards and downwards by round, every file read once before; a ratio compares
runs of one round. On a machine that others use the CPU seconds tell more than the clock.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes, report
from benchmarks.processes import CommandUsage
from benchmarks.speed import copied_corpus, costs
from benchmarks.speed.copied_corpus import Corpus

COPIES, QUICK_COPIES = (1, 2, 4, 8), (1, 2)
TOLERANCE = 0.10
WORKERS = 2
TIMES = {"wall_s": "Time by the clock", "cpu_s": "CPU time"}

Runs = dict[int, list[CommandUsage]]


def measure(
    one: Corpus,
    copies: Sequence[int],
    num_rounds: int,
    detector: str,
    weights: Path | None,
    work: Path,
) -> Runs:
    """Runs of each size, one a round.

    Raises:
      RuntimeError: a run failed, or wrote other records than so many times those of one copy.
    """
    folder = work / "copies"
    tables = {count: copied_corpus.manifest(one, folder, count) for count in copies}
    copied_corpus.warm_page_cache(one, folder, max(copies))
    found: Runs = {count: [] for count in copies}
    records: dict[int, int] = {}
    for number in range(num_rounds):
        for count in sorted(copies, reverse=bool(number % 2)):
            out = work / "out"
            shutil.rmtree(out, ignore_errors=True)
            given = ("--workers", str(WORKERS))
            words = copied_corpus.words(tables[count], out, detector, weights, *given)
            found[count].append(processes.run(words, accepted=(0, 3)))
            records[count] = copied_corpus.num_records(out)
    for count in copies:
        if records[count] * min(copies) != records[min(copies)] * count:
            raise RuntimeError(f"{count} copies gave {records[count]} records: not the same work")
    return found


def per_copy(found: Runs, what: str) -> dict[int, list[float]]:
    """Of each size the figure for one copy over that of the smallest size, one a round."""
    first = min(found)
    return {
        count: [
            getattr(run, what) / count / (getattr(base, what) / first)
            for run, base in zip(runs, found[first], strict=True)
        ]
        for count, runs in found.items()
    }


def per_copy_without_startup(found: Runs, what: str) -> dict[int, float]:
    """The figure for one copy over that of the first, with the start of the program taken off.

    The start is where the line through the smallest and the second smallest size meets zero copies.
    """
    middle = {n: report.median([getattr(run, what) for run in runs]) for n, runs in found.items()}
    first, second, *_ = sorted(middle)
    slope = (middle[second] - middle[first]) / (second - first)
    start = max(middle[first] - slope * first, 0.0)
    base = (middle[first] - start) / first
    return {count: (value - start) / count / base for count, value in middle.items()}


def growth_table(found: Runs) -> str:
    apart = {what: per_copy_without_startup(found, what) for what in TIMES}
    rows = [
        (
            count,
            *(
                cell
                for what in TIMES
                for cell in (
                    _spread([getattr(run, what) for run in runs], ".1f"),
                    _spread(per_copy(found, what)[count], ".2f"),
                    f"{apart[what][count]:.2f}",
                )
            ),
            f"{max(run.program_mib for run in runs):.0f}",
            f"{max(run.worker_mib for run in runs):.0f}",
        )
        for count, runs in found.items()
    ]
    of_a_copy = ("a copy, times the first", "without the start")
    columns = ("copies", "seconds", *of_a_copy, "CPU s", *of_a_copy)
    return report.table((*columns, "MiB, program", "MiB, largest worker"), rows)


def _spread(values: Sequence[float], form: str) -> str:
    middle = format(report.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"


def verdicts(found: Runs) -> str:
    largest = max(found)
    lines = []
    for what, told in TIMES.items():
        off = max(abs(value - 1) for value in per_copy_without_startup(found, what).values())
        lines.append(
            f"- {told} linear within {TOLERANCE:.0%}, the start apart: off by {off:.1%} at most,"
            f" {report.verdict(off <= TOLERANCE)}."
        )
    memory = [
        max(getattr(run, what) for run in found[largest])
        / max(getattr(run, what) for run in found[min(found)])
        for what in ("program_mib", "worker_mib")
    ]
    lines.append(
        f"- Memory flat within {TOLERANCE:.0%}: program {memory[0]:.2f}, worker {memory[1]:.2f}"
        f" times, {report.verdict(max(memory) <= 1 + TOLERANCE)}."
    )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="growth")
    parser.add_argument("--detector", default="haar")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=6, help="each recording in one copy")
    costs.add_option(parser)
    chosen = parser.parse_args(words)
    copies, rounds = (QUICK_COPIES, 1) if chosen.quick else (COPIES, chosen.rounds)
    with report.work_folder(chosen.work) as work:
        one = copied_corpus.corpus(work, chosen.quick, 1 if chosen.quick else chosen.times)
        machine = report.machine()
        weights = chosen.weights_dir.resolve() if chosen.weights_dir is not None else None
        found = measure(one, copies, rounds, chosen.detector, weights, work.resolve())
    remark = (
        f"One copy: {one.told}; {chosen.detector}, {WORKERS} workers, {rounds} rounds, median. Each"
        " copy has files of its own under other names, so to the program they are other clips: all"
        " are decoded and written, and only then marked as equal."
    )
    values = {
        "workers": WORKERS,
        "clips_a_copy": len(one.files),
        "wall_s": {str(n): [costs.rounded(run.wall_s) for run in r] for n, r in found.items()},
        "cpu_s": {str(n): [costs.rounded(run.cpu_s) for run in r] for n, r in found.items()},
    }
    costs.write(chosen.costs, "growth", machine, values)
    parts = [remark, growth_table(found), verdicts(found)]
    title = "One to eight copies of a corpus"
    report.publish(title, "growth", words, machine, parts, *report.destination(chosen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
