"""`preprocess` by the local engine and on Ray: two workers on two cores, one and two machines.

Runs take turns within a round. The start is the same command over two short clips. The machines are
nodes of `ray.cluster_utils.Cluster` on this one, with a core each; at the end one of two is killed
when half of the shards are written, and what comes out is compared with the local result.

Ray lowers the priority of its processes by 15 (`RAY_worker_niceness`), which on a machine that
others use is all that one would measure: here it does not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectstream.parallel.ray_cluster import RayCluster
from affectstream.parallel.tasks import ReportStep, TaskLimits, run
from benchmarks import processes, report
from benchmarks.processes import CommandUsage
from benchmarks.speed import copied_corpus, costs

TARGET = 0.15
LOCAL, RAY = "local, 2 workers", "Ray, 2 workers"
ONE_WORKER, ONE_NODE, TWO_NODES = "local, 1 worker", "Ray, 1 machine", "Ray, 2 machines"
NUM_TASKS = 2000
# Read by every machine of Ray as it starts; written as Ray writes it.
NICENESS = "RAY_worker_niceness"


@dataclass
class Bench:
    """What all runs share, and what was measured of them.

    Attributes:
      full, short: the corpus, and two clips of it.
    """

    full: Path
    short: Path
    work: Path
    detector: str
    weights: Path | None
    runs: dict[str, list[CommandUsage]] = field(default_factory=dict)
    starts: dict[str, list[CommandUsage]] = field(default_factory=dict)

    def once(self, name: str, *more: str, meanwhile: Any = lambda: None) -> CommandUsage:
        """One run over the corpus; the data folder of its name is written anew."""
        out = self.out(name)
        shutil.rmtree(out, ignore_errors=True)
        words = copied_corpus.words(self.full, out, self.detector, self.weights, *more)
        ran = processes.run(words, meanwhile, accepted=(0, 3))
        self.runs.setdefault(name, []).append(ran)
        return ran

    def start(self, name: str, *more: str) -> None:
        out = self.work / "start"
        shutil.rmtree(out, ignore_errors=True)
        words = copied_corpus.words(self.short, out, self.detector, self.weights, *more)
        self.starts.setdefault(name, []).append(processes.run(words, accepted=(0, 3)))

    def out(self, name: str) -> Path:
        return self.work / name.replace(", ", "-").replace(" ", "-").lower()


# === Both engines ===


def side_by_side(bench: Bench, num_rounds: int) -> None:
    """Local and Ray with two workers each, in alternating order."""
    ways = [(LOCAL, ("--workers", "2")), (RAY, ("--engine", "ray", "--workers", "2"))]
    for number in range(num_rounds):
        for name, more in ways if number % 2 == 0 else reversed(ways):
            bench.start(name, *more)
            bench.once(name, *more)


def overheads(bench: Bench) -> dict[str, float]:
    """Ray over local less one, by the clock and by CPU time, with the start and without."""
    found = {}
    for what in ("wall_s", "cpu_s"):
        whole, apart = [], []
        for number, (ray, local) in enumerate(zip(bench.runs[RAY], bench.runs[LOCAL], strict=True)):
            a, b = getattr(ray, what), getattr(local, what)
            start_a = getattr(bench.starts[RAY][number], what)
            start_b = getattr(bench.starts[LOCAL][number], what)
            whole.append(a / b - 1)
            apart.append((a - start_a) / (b - start_b) - 1)
        found[f"{what}, start included"] = report.median(whole)
        found[f"{what}, start apart"] = report.median(apart)
    return found


# === Machines ===


def cluster_of(num_nodes: int) -> Any:
    """Machines of one core on this machine; the head is the first."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(num_nodes - 1):
        made.add_node(num_cpus=1)
    return made


def machines(bench: Bench, num_rounds: int) -> None:
    """One and two machines of a running cluster, beside one local worker."""
    for _ in range(num_rounds):
        bench.start(ONE_WORKER, "--workers", "1")
        bench.once(ONE_WORKER, "--workers", "1")
        for name, count in ((ONE_NODE, 1), (TWO_NODES, 2)):
            cluster = cluster_of(count)
            try:
                given = ("--engine", "ray", "--address", cluster.address)
                bench.start(name, *given)
                bench.once(name, *given)
            finally:
                cluster.shutdown()


def kill_machine_midway(bench: Bench) -> str:
    """Two machines, one of which is killed when half of the shards are there; one line."""
    shards = len(list((bench.out(LOCAL) / "shards").glob("*.json")))
    cluster = cluster_of(1)
    second = cluster.add_node(num_cpus=1)
    seen: list[int] = []
    name = "Ray, one of 2 machines killed"

    def kill() -> None:
        there = len(list((bench.out(name) / "shards").glob("*.json")))
        if not seen and there >= shards / 2:
            seen.append(there)
            cluster.remove_node(second, allow_graceful=False)

    try:
        ran = bench.once(name, "--engine", "ray", "--address", cluster.address, meanwhile=kill)
    finally:
        cluster.shutdown()
    if not seen:
        raise RuntimeError("the machine was not killed: too few shards; take more recordings")
    equal = digests(bench.out(name)) == digests(bench.out(LOCAL))
    return (
        f"- One of two machines killed after {seen[0]} of {shards} shards: all files equal to the"
        f" local ones to the byte, {report.verdict(equal)}; {ran.wall_s:.1f} s."
    )


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder: relative path -> SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# === What the head can do ===


def noop_task(task: int, report_step: ReportStep) -> int:
    """A task without work, of one step."""
    report_step(0)
    return task


def tasks_a_second(num_tasks: int) -> float:
    """Tasks that one core hands out, does, tells of and takes back in a second."""
    with RayCluster(num_workers=1).open(noop_task, TaskLimits()) as pool:
        list(run(pool, range(10), lambda task, died: task))
        began_s = time.perf_counter()
        list(run(pool, range(num_tasks), lambda task, died: task))
        return num_tasks / (time.perf_counter() - began_s)


# === Table ===


def cluster_table(bench: Bench) -> str:
    def middle(runs: Sequence[CommandUsage] | None, what: str, form: str) -> str:
        return format(report.median([getattr(run, what) for run in runs]), form) if runs else ""

    rows = [
        (
            name,
            middle(runs, "wall_s", ".1f"),
            middle(bench.starts.get(name), "wall_s", ".1f"),
            middle(runs, "cpu_s", ".1f"),
            middle(bench.starts.get(name), "cpu_s", ".1f"),
        )
        for name, runs in bench.runs.items()
    ]
    columns = ("engine", "seconds", "of it the start", "CPU s", "of it the start")
    return report.table(columns, rows)


def lines_of(found: dict[str, float], rate: float) -> str:
    wall, cpu = found["wall_s, start apart"], found["cpu_s, start apart"]
    told = "; ".join(f"{name.replace('_s', '')} {value:+.0%}" for name, value in found.items())
    return (
        f"- Ray over local, two workers: {told}.\n"
        f"- Target: below {TARGET:.0%}, the start apart: by the clock {wall:+.1%},"
        f" {report.verdict(wall < TARGET)}; by CPU time {cpu:+.1%},"
        f" {report.verdict(cpu < TARGET)}.\n"
        f"- One driver and one core do {rate:,.0f} empty tasks a second."
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="cluster")
    parser.add_argument("--detector", default="haar")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=6, help="each recording in the corpus")
    costs.add_option(parser)
    chosen = parser.parse_args(words)
    rounds = 1 if chosen.quick else chosen.rounds
    machine = report.machine()
    os.environ[NICENESS] = "0"
    with report.work_folder(chosen.work) as given, processes.on_cores(2):
        work = given.resolve()
        one = copied_corpus.corpus(work, chosen.quick, 4 if chosen.quick else chosen.times)
        full = copied_corpus.manifest(one, work / "copies", 1)
        copied_corpus.warm_page_cache(one, work / "copies", 1)
        short = work / "copies" / "short.csv"
        short.write_text("\n".join(full.read_text("utf-8").splitlines()[:3]) + "\n", "utf-8")
        weights = chosen.weights_dir.resolve() if chosen.weights_dir is not None else None
        bench = Bench(full, short, work, chosen.detector, weights)
        side_by_side(bench, rounds)
        machines(bench, rounds)
        killed = kill_machine_midway(bench)
        rate = tasks_a_second(50 if chosen.quick else NUM_TASKS)
    found = overheads(bench)
    remark = f"{one.told}; {chosen.detector}, {rounds} rounds, median; two cores for everything."
    values = {
        "clips": len(one.files),
        "overheads": {name: costs.rounded(value, 3) for name, value in found.items()},
        "tasks_a_second": costs.rounded(rate, 3),
        **{
            key: {
                name: {
                    what: costs.rounded(report.median([getattr(run, what) for run in runs]))
                    for what in ("wall_s", "cpu_s")
                }
                for name, runs in measured.items()
            }
            for key, measured in (("runs", bench.runs), ("starts", bench.starts))
        },
    }
    costs.write(chosen.costs, "cluster", machine, values)
    parts = [remark, cluster_table(bench), lines_of(found, rate) + "\n" + killed]
    title = "The local engine and Ray"
    report.publish(title, "cluster_speed", words, machine, parts, *report.destination(chosen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
