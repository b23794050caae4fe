"""A million hours of media on a thousand machines that fail, simulated with measured figures.

First the simulation has to foretell what was measured on one machine. Figures come from the JSON
that `stage_cost`, `growth` and `cluster_speed` write; what is assumed is an option each.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from affectstream.preprocessing.records.sharding import max_clips_per_shard
from benchmarks import report
from benchmarks.speed import costs, scale_model
from benchmarks.speed.cluster_speed import LOCAL, ONE_NODE, ONE_WORKER, RAY, TWO_NODES
from benchmarks.speed.scale_model import ShardJobs, SimulatedCluster
from benchmarks.speed.scale_plan import Figures, Plan, Result, add_options, plan_of, simulate
from benchmarks.speed.stage_cost import WHOLE

QUICK_HOURS, QUICK_NODES, QUICK_HEADS = 2000.0, 20, 2
# Megabytes of recordings a shard; the last is no limit but that of the clips.
SIZES_MB, HEADS, SPOT_FAILURES = (64.0, 256.0, 1024.0, 1e9), (1, 10, 100), 1000.0
ASSUMED = (
    "Failures: 6.5 per 1,000 machine days, as Kokolis et al. 2025 (HPCA) give for the worse of two"
    " clusters at Meta; 1,000 (one a day and machine) stands for machines that may be taken away at"
    " any time. Prices in US dollars are assumptions of November 2026, near public list prices of"
    " large providers, not quotes: put in your own."
)


# === Against what was measured ===


def foretold(measured: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(what, foretold, measured); times of many from that of one, CPU seconds from the stages.

    Without figures of growth its rows are left out.
    """
    cluster, growth = measured["cluster"], measured.get("growth", {"cpu_s": {}})
    rows = []
    work_s = cluster["runs"][ONE_WORKER]["wall_s"] - cluster["starts"][ONE_WORKER]["wall_s"]
    for name, workers in ((LOCAL, 2), (ONE_NODE, 1), (TWO_NODES, 2), (RAY, 2)):
        told_s = cluster["starts"][name]["wall_s"] + _spread_s(work_s, cluster["clips"], workers)
        rows.append((f"{name}, s", told_s, cluster["runs"][name]["wall_s"]))
    start_s = cluster["starts"][LOCAL]["cpu_s"]
    per_hour = measured["stages"]["kinds"]
    base_s = sum(
        per_hour[kind]["cpu_s_an_hour"][WHOLE] * per_hour[kind]["hours"]
        for kind in ("short videos", "sounds")
    )
    base_clips = sum(per_hour[kind]["clips"] for kind in ("short videos", "sounds"))
    for count, seconds in growth["cpu_s"].items():
        clips = int(count) * growth["clips_a_copy"]
        told_s = start_s + base_s * clips / base_clips
        rows.append((f"{count} copies, CPU s", told_s, report.median(seconds)))
    return rows


def _spread_s(work_s: float, num_clips: int, workers: int) -> float:
    """Seconds of `workers` processes over so many equal clips in pieces."""
    size = max_clips_per_shard(num_clips)
    sizes = [min(size, num_clips - start) for start in range(0, num_clips, size)]
    pieces = ShardJobs(np.array(sizes) * (work_s / num_clips), np.zeros(len(sizes)))
    return scale_model.simulate(pieces, SimulatedCluster(np.ones(1), workers)).seconds


def validation_table(rows: Sequence[tuple[str, float, float]]) -> str:
    cells = [
        (name, f"{told:.1f}", f"{seen:.1f}", f"{told / seen - 1:+.0%}") for name, told, seen in rows
    ]
    return report.table(("run", "foretold", "measured", "error"), cells)


# === Tables ===

COLUMNS = (
    "variant",
    "hours",
    "without work",
    "done in vain",
    "shards",
    "MB a shard",
    "GiB kept by a head",
    "steps/s of a head",
    "Gbit/s of the store",
)


def row_of(name: str, one: Result) -> tuple[object, ...]:
    return (
        name,
        f"{one.seconds / 3600:.2f}",
        f"{one.idle:.1%}",
        f"{one.lost:.2%}",
        f"{one.num_pieces:,}",
        f"{one.shard_mb:.0f}",
        f"{one.head_gib:.1f}",
        f"{one.steps_s:.1f}",
        f"{one.store_gbit:.0f}",
    )


def variants(plan: Plan, figures: Figures, heads: Sequence[int]) -> list[tuple[str, Plan, bool]]:
    """(name, plan, longest first): one assumption changed at a time."""

    def other(**changed: Any) -> Plan:
        return dataclasses.replace(plan, **changed)

    made = [("as assumed", plan, False)]
    made += [(f"{n} head{'s' * (n > 1)}", other(heads=n), False) for n in heads if n != plan.heads]
    for failures in (plan.failures, SPOT_FAILURES):
        for size in SIZES_MB:
            if (size, failures) != (plan.mb_a_shard, plan.failures):
                told = f"{size:g} MB" if size < max(SIZES_MB) else f"{plan.clips_a_shard} clips"
                name = f"{told} a shard, {failures:g} failures"
                made.append((name, other(mb_a_shard=size, failures=failures), False))
    made += [
        ("no failures", other(failures=0.0), False),
        ("all machines alike", other(speed_spread=0.0, slow_share=0.0), False),
        ("longest first", plan, True),
        ("a tenth of the store", other(store_gbit=plan.store_gbit / 10), False),
    ]
    return made


def money(one: Result) -> str:
    """Storage and price of the plan."""
    plan, figures = one.plan, one.figures
    read_tb, written_tb = (
        plan.hours * value / 1e12 for value in (figures.read_bytes, figures.written_bytes)
    )
    node_hours = one.seconds / 3600 * plan.nodes
    machines = node_hours * plan.machine_price
    puts = 2 * one.num_pieces / 1000 * plan.put_price
    source, month = (tb * 1000 * plan.store_price for tb in (read_tb, written_tb))
    rows = [
        (
            "recordings read",
            f"{read_tb:,.0f} TB",
            f"{source:,.0f} a month",
        ),
        ("shards written", f"{written_tb:,.0f} TB", f"{month:,.0f} a month"),
        ("objects written", f"{2 * one.num_pieces:,}", f"{puts:,.0f}"),
        ("machine hours", f"{node_hours:,.0f}", f"{machines:,.0f}"),
        ("an hour of media", f"{figures.cpu_s:.0f} CPU s", f"{machines / plan.hours:.4f}"),
    ]
    return report.table(("what", "how much", "US dollars"), rows)


def remark(plan: Plan, figures: Figures, one: Result) -> str:
    given = ", ".join(
        f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float | int) else f"{key} {value}"
        for key, value in dataclasses.asdict(plan).items()
    )
    return (
        f"Measured: {figures.cpu_s:.0f} CPU s, {figures.read_bytes / 1e6:.0f} MB read and"
        f" {figures.written_bytes / 1e6:.0f} MB written an hour of media,"
        f" {figures.record_bytes:,.0f} bytes a record kept by the program, {figures.tasks_s:,.0f}"
        f" empty tasks a second handed out by it. Assumed: {given}. {ASSUMED}\n\n"
        "`without work` counts until the last head is done. Given out all at once instead of few at"
        f" a time, the same pieces would take {one.at_once_s / 3600:.2f} hours without failures."
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="simulation")
    costs.add_option(parser)
    add_options(parser)
    chosen = parser.parse_args(words)
    machine = report.machine()
    plan = plan_of(chosen)
    heads: tuple[int, ...] = HEADS
    if chosen.quick:
        plan = dataclasses.replace(
            plan, hours=QUICK_HOURS, nodes=QUICK_NODES, heads=QUICK_HEADS, store_gbit=16.0
        )
        heads = (1, QUICK_HEADS)
    with report.user_errors():
        measured = costs.read(chosen.costs or costs.DEFAULT, "stages", "cluster")
    figures = Figures.of(measured, plan.kind)
    results = [
        (name, simulate(one, figures, longest_first))
        for name, one, longest_first in variants(plan, figures, heads)
    ]
    base = results[0][1]
    parts = [
        validation_table(foretold(measured)),
        remark(plan, figures, base),
        report.table(COLUMNS, [row_of(name, one) for name, one in results]),
        money(base),
    ]
    title = f"{plan.hours:,.0f} hours on {plan.nodes:,} machines, simulated"
    report.publish(title, "scale_simulation", words, machine, parts, *report.destination(chosen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
