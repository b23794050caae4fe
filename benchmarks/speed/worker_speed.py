"""Two worker processes of `preprocess` against one, on 720p clips."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from affectstream.parallel.process_pool import ProcessPoolEngine
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.records.shard_job import ShardJob, run_shard_jobs
from affectstream.preprocessing.records.sharding import group_into_shards
from benchmarks import inputs, report
from benchmarks.inputs import GeneratedClip

TARGET = 1.7


def measure(
    clips: Sequence[GeneratedClip],
    num_clips: int,
    num_rounds: int,
    detector: str,
    weights: Path | None,
) -> str:
    """One worker against two, from the call to the last shard, start of the processes included."""
    wall: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    loads = []
    many = [
        dataclasses.replace(clips[i % len(clips)].clip, name=f"{i:04d}") for i in range(num_clips)
    ]
    for number in range(num_rounds):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            loads.append(os.getloadavg()[0])
            began_s, began_cpu_s = time.perf_counter(), _cpu_s()
            with tempfile.TemporaryDirectory() as spool:
                run_shard_jobs(
                    ProcessPoolEngine(count),
                    _pieces(many, Path(spool), detector, weights),
                    TaskLimits(),
                )
            wall[count].append(time.perf_counter() - began_s)
            cpu[count].append(_cpu_s() - began_cpu_s)
    speed_up = report.median([a / b for a, b in zip(wall[1], wall[2], strict=True)])
    cost = report.median([b / a for a, b in zip(cpu[1], cpu[2], strict=True)])
    rows = [
        (f"{n}", f"{report.median(wall[n]):.1f}", f"{report.median(cpu[n]):.1f}") for n in (1, 2)
    ]
    text = report.table(("workers", "seconds", "CPU seconds, all processes"), rows)
    return (
        f"{num_clips} clips, {detector}, start of the processes included; load between"
        f" {min(loads):.1f} and {max(loads):.1f}.\n\n{text}\n\n"
        f"- Target {TARGET:g}x with two workers: {speed_up:.2f}x,"
        f" {report.verdict(speed_up >= TARGET)}. Two workers use {cost:.2f} times the CPU"
        f" time of one, so two free cores allow {2 / cost:.2f}x."
    )


def _pieces(
    clips: Sequence[Clip], shards: Path, detector: str, weights: Path | None
) -> Iterator[ShardJob]:
    settings = inputs.default_settings(detector)
    for number, some in enumerate(group_into_shards(clips)):
        yield ShardJob(shards, number, some, settings, weights)


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--clips", type=int, default=40, help="recordings in the made corpus")
    parser.add_argument("--detector", default="haar")
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args(words)
    count, rounds = (4, 1) if chosen.quick else (chosen.clips, chosen.rounds)
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        machine = report.machine()
        text = measure(clips, count, rounds, chosen.detector, chosen.weights_dir)
    title = "Two workers against one"
    report.publish(title, "worker_speed", words, machine, [f"{origin}, in turn.", text], chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
