"""Hostile files through `preprocess` and `predict`: nothing of them may end or hold up the program.

Files are mutated (`benchmarks.robustness.mutations`) from real recordings where `EMOTION_DATA`
names them, and from a SYNTHETIC clip in every format. What a file leads to is told apart by its
message, or roughly by how much was read of it; a mutant that leads to something new becomes a seed
of further ones. Of tables, which code of our own reads, so does one that reaches a new line of it;
media are read by libraries in C that no coverage is known of. Exit code 1: the program died, or a
file was neither read nor rejected by name.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from affectstream.core import atomic_io
from affectstream.parallel.tasks import TaskLimits
from benchmarks import inputs, report
from benchmarks.robustness import hostile_runs, hostile_seeds, hostile_tables, mutations
from benchmarks.robustness.hostile_runs import DIED, FINDINGS, OUTCOMES, UNNAMED, Batch, FileOutcome
from benchmarks.robustness.hostile_seeds import Seeds

# Larger mutants are not used as seeds; at most this many seeds are kept per kind.
LARGEST_SEED_BYTES, MOST_SEEDS = 300_000, 300
QUICK_FILES = 24
QUICK_S, QUICK_PX, MADE_S, MADE_PX = 0.4, 64, 1.0, 160

# Names of files in a folder -> their outcomes.
RunFiles = Callable[[Path, Sequence[str]], Batch]


@dataclass
class FuzzRun:
    """Batches of mutants for one program, and their outcomes.

    Attributes:
      seeds: whole files, and mutants that led to something new.
      counts: kind -> way -> files.
      shapes: (kind, way, shape) -> the smallest file that led to it.
      lines: kind -> lines of our own code that were reached, where they are watched.
      program_bytes, worker_bytes: the most memory of the program, and of a process of its.
    """

    run: RunFiles
    seeds: Seeds
    kinds: tuple[str, ...]
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    shapes: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    lines: dict[str, set[str]] = field(default_factory=dict)
    program_bytes: int = 0
    worker_bytes: int = 0
    wall_s: float = 0.0
    is_well: bool = True

    def batch(self, rng: np.random.Generator, folder: Path, count: int) -> None:
        """Generates a number of files, runs the program on them, and learns from the outcomes."""
        folder.mkdir(parents=True, exist_ok=True)
        made: dict[str, tuple[str, bytes]] = {}
        for number in range(count):
            kind = self.kinds[number % len(self.kinds)]
            data = mutations.mutant(rng, kind, self.seeds)
            name = f"f{number:05d}.{hostile_tables.ENDINGS.get(kind, kind)}"
            (folder / name).write_bytes(data)
            made[name] = (kind, data)
        batch = self.run(folder, list(made))
        self.wall_s += batch.ran.wall_s
        self.program_bytes = max(self.program_bytes, batch.ran.program_bytes)
        self.worker_bytes = max(self.worker_bytes, batch.ran.worker_bytes)
        for outcome in batch.outcomes:
            kind, data = made[outcome.name]
            self.counts.setdefault(kind, Counter())[outcome.way] += 1
            self._learn(kind, outcome, data)

    def _learn(self, kind: str, outcome: FileOutcome, data: bytes) -> None:
        key = (kind, outcome.way, outcome.shape)
        known, reached = self.shapes.get(key), self.lines.setdefault(kind, set())
        is_new = known is None or not outcome.lines <= reached
        if known is None or len(data) < len(known):
            self.shapes[key] = data
        reached |= outcome.lines
        if is_new and outcome.way not in FINDINGS and len(data) <= LARGEST_SEED_BYTES:
            self.seeds[kind] = [*self.seeds[kind], data][:MOST_SEEDS]

    def save(self, folder: Path) -> None:
        """Writes the smallest file of each finding, and a list of all outcomes."""
        lines = []
        for (kind, way, shape), data in sorted(self.shapes.items()):
            name = (
                f"{hashlib.sha256(data).hexdigest()[:8]}.{hostile_tables.ENDINGS.get(kind, kind)}"
            )
            lines.append(f"{kind}\t{way}\t{name}\t{len(data)}\t{shape}")
            if way in FINDINGS or way == "read":
                place = folder / way.replace(" ", "-") / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        atomic_io.write_text(folder / "outcomes.tsv", "\n".join(lines) + "\n")


def fuzz(
    run: RunFiles,
    seeds: Seeds,
    kinds: tuple[str, ...],
    num_files: int,
    batch: int,
    seed: int,
    work: Path,
) -> FuzzRun:
    """So many files, a batch at a time; a batch is removed when it has been read."""
    rng = np.random.default_rng(seed)
    made = FuzzRun(run, {kind: list(own) for kind, own in seeds.items()}, kinds)
    done = 0
    while done < num_files:
        count = min(batch, num_files - done)
        made.batch(rng, work / f"batch-{done:06d}", count)
        hostile_runs.removed(work / f"batch-{done:06d}")
        done += count
        told = sum(made.counts.values(), Counter())
        print(f"{done} of {num_files} in {made.wall_s:.0f} s: {dict(told)}", file=sys.stderr)
    return made


# === Report ===


def table(hunts: Sequence[tuple[str, FuzzRun]]) -> str:
    columns = ["program", "format", "files", *OUTCOMES, "different outcomes"]
    rows = []
    for program, one in hunts:
        for kind, counts in one.counts.items():
            shapes = sum(key[0] == kind for key in one.shapes)
            cells = [str(counts[way]) for way in OUTCOMES]
            rows.append([program, kind, str(counts.total()), *cells, str(shapes)])
        total = sum(one.counts.values(), Counter())
        cells = [str(total[way]) for way in OUTCOMES]
        rows.append([program, "all", str(total.total()), *cells, str(len(one.shapes))])
    return report.table(columns, rows)


def watched_table(hunts: Sequence[tuple[str, FuzzRun]]) -> str:
    columns = [
        "program",
        "ms a file",
        "most MiB of a process that reads",
        "most MiB of the program",
        "lines of `preprocessing` reached",
    ]
    rows = []
    for program, one in hunts:
        count = sum(one.counts.values(), Counter()).total()
        watched = (one.worker_bytes, one.program_bytes)  # tables are read in a process of ours
        mib = [f"{value / 2**20:.0f}" if value else "" for value in watched]
        lines = len(set().union(*one.lines.values()))
        rows.append([program, f"{one.wall_s / count * 1000:.0f}", *mib, str(lines or "")])
    return report.table(columns, rows)


def _programs(
    words: Sequence[str], limits: TaskLimits, model: Path | None
) -> dict[str, tuple[RunFiles, tuple[str, ...]]]:
    """The requested programs: how each runs, and the formats it reads."""
    options = ("--model", str(model)) if model is not None else ()

    def preprocess(folder: Path, names: Sequence[str]) -> Batch:
        run = functools.partial(_preprocessed, folder, limits=limits)
        return hostile_runs.each(run, names)

    def predict(folder: Path, names: Sequence[str]) -> Batch:
        run = functools.partial(_predicted, folder, limits=limits, options=options)
        return hostile_runs.each(run, names)

    def tables(folder: Path, names: Sequence[str]) -> Batch:
        return hostile_tables.run(folder, names, limits)

    known: dict[str, tuple[RunFiles, tuple[str, ...]]] = {
        "preprocess": (preprocess, mutations.MEDIA),
        "tables": (tables, mutations.TABLES),
        "predict": (predict, mutations.MEDIA),
    }
    return {name: known[name] for name in words}


def _preprocessed(folder: Path, names: Sequence[str], limits: TaskLimits) -> Batch:
    words = ("--detector", "haar", "--num-frames", "3")
    return hostile_runs.preprocess(folder, names, limits, *words)


def _predicted(
    folder: Path, names: Sequence[str], limits: TaskLimits, options: Sequence[str]
) -> Batch:
    return hostile_runs.predict(folder, names, limits, *options)


# === Command line ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="hostile")
    parser.add_argument("--files", type=int, default=1000, help="for each program")
    parser.add_argument("--batch", type=int, default=300, help="files of one command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=20.0)
    parser.add_argument("--memory-limit-gb", type=float, default=1.0)
    names = ("preprocess", "tables", "predict")
    parser.add_argument("--programs", nargs="+", choices=names, default=names)
    parser.add_argument("--model", type=Path, help="run or export for predict")
    parser.add_argument(
        "--save-dir", type=Path, help="folder for the smallest file of each outcome"
    )
    chosen = parser.parse_args(words)
    limits = TaskLimits(chosen.timeout_s, chosen.memory_limit_gb * 2**30)
    machine = report.machine()
    hunts = []
    with report.work_folder(chosen.work) as work:
        seeds, origin = _seeds(work, chosen.quick)
        count = min(chosen.files, QUICK_FILES) if chosen.quick else chosen.files
        for name, (run, kinds) in _programs(chosen.programs, limits, chosen.model).items():
            print(f"{name}:", file=sys.stderr)
            one = fuzz(run, seeds, kinds, count, chosen.batch, chosen.seed, work / name)
            hunts.append((name, one))
            if chosen.save_dir is not None:
                one.save(chosen.save_dir / name)
    note = (
        f"{count} files for each, seed {chosen.seed}, mutated from {origin} and from mutants that"
        f" led to something new; limits {chosen.timeout_s:g} s and {chosen.memory_limit_gb:g}"
        " GiB, up to"
        f" {chosen.batch} files a command. A file counts as read when something came of it."
    )
    parts = [note, table(hunts), watched_table(hunts)]
    title = "Hostile files"
    report.publish(title, "hostile", words, machine, parts, chosen)
    bad = sum(counts[DIED] + counts[UNNAMED] for _, one in hunts for counts in one.counts.values())
    return 1 if bad else 0


def _seeds(work: Path, is_quick: bool) -> tuple[Seeds, str]:
    source = inputs.synthetic_corpus(work, is_quick=True)[0]
    folder = work / "seeds"
    folder.mkdir(exist_ok=True)
    duration_s, width_px = (QUICK_S, QUICK_PX) if is_quick else (MADE_S, MADE_PX)
    seeds = hostile_seeds.made(source, folder, duration_s, width_px)
    data = None if is_quick else inputs.data_folder()
    told = f"{sum(map(len, seeds.values()))} made of a SYNTHETIC clip"
    if data is None:
        return seeds, told
    real = hostile_seeds.published(data)
    return hostile_seeds.joined(seeds, real), f"{sum(map(len, real.values()))} real files, {told}"


if __name__ == "__main__":
    raise SystemExit(main())
