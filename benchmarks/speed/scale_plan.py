"""What is assumed about a million hours of media, and the measured figures that go with it."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.preprocessing.records.sharding import (
    MAX_BYTES_PER_SHARD,
    MAX_CLIPS_PER_SHARD,
    shard_starts,
)
from benchmarks.speed import scale_model
from benchmarks.speed.scale_model import ShardJobs, SimulatedCluster, SimulationResult
from benchmarks.speed.stage_cost import WHOLE

DAY_S = 86_400.0


@dataclass(frozen=True)
class Plan:
    """Assumptions; each is an option of `benchmarks.speed.scale_simulation` of the same name.

    Attributes:
      kind: of recordings, as the stage costs name it.
      heads: clusters that work side by side, each with its own program and data folder.
      clips_a_shard, mb_a_shard: at most; as `affectstream.preprocessing.records.sharding` has it.
      mean_length_s, length_spread: recordings are lognormal.
      speed_spread, slow_share: machines are lognormal about the measured one, some at half of that.
      failures: per 1,000 machine days.
      machine_gbit, store_gbit: network of a machine, and of the whole object store.
      machine_price, store_price, put_price: a machine hour, a GB month, 1,000 objects written.
    """

    kind: str = "long video"
    hours: float = 1e6
    nodes: int = 1000
    processes: int = 8
    heads: int = 100
    clips_a_shard: int = MAX_CLIPS_PER_SHARD
    mb_a_shard: float = MAX_BYTES_PER_SHARD / 1e6
    mean_length_s: float = 600.0
    length_spread: float = 1.0
    speed_spread: float = 0.1
    slow_share: float = 0.02
    failures: float = 6.5
    noticed_s: float = 30.0
    replaced_s: float = 600.0
    machine_gbit: float = 10.0
    store_gbit: float = 800.0
    machine_price: float = 0.35
    store_price: float = 0.023
    put_price: float = 0.005
    seed: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for each assumption."""
    for one in dataclasses.fields(Plan):
        kind = type(one.default)
        flag = f"--{one.name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=one.default, help="[default: %(default)s]")


def plan_of(chosen: argparse.Namespace) -> Plan:
    return Plan(**{one.name: getattr(chosen, one.name) for one in dataclasses.fields(Plan)})


@dataclass(frozen=True)
class Figures:
    """What was measured of an hour of media of one kind.

    Attributes:
      tasks_s: pieces that one program hands out and takes back in a second.
      record_bytes: that the program keeps of each.
    """

    cpu_s: float
    read_bytes: float
    written_bytes: float
    records: float
    record_bytes: float
    tasks_s: float

    @classmethod
    def of(cls, measured: dict[str, Any], kind: str) -> Figures:
        """Of the JSON that the benchmarks write."""
        stages = measured["stages"]
        one = stages["kinds"][kind]
        return cls(
            cpu_s=one["cpu_s_an_hour"][WHOLE],
            read_bytes=one["read_bytes_an_hour"],
            written_bytes=one["written_bytes_an_hour"],
            records=one["records_an_hour"],
            record_bytes=stages["driver_bytes_a_record"],
            tasks_s=measured["cluster"]["tasks_a_second"],
        )


@dataclass(frozen=True)
class Result:
    """A plan simulated: all heads together.

    Attributes:
      seconds: until the last head is done.
      outcomes: of each head.
      at_once_s: with every piece given out beforehand; failures apart.
    """

    plan: Plan
    figures: Figures
    outcomes: tuple[SimulationResult, ...]
    num_pieces: int
    at_once_s: float

    @property
    def seconds(self) -> float:
        return max(one.seconds for one in self.outcomes)

    @property
    def idle(self) -> float:
        """Share of all processes' time until the last head is done, without work."""
        total_s = self.seconds * self.plan.nodes * self.plan.processes
        return 1 - sum(one.useful_s + one.lost_s for one in self.outcomes) / total_s

    @property
    def lost(self) -> float:
        """Share of the work that was done in vain."""
        useful_s = sum(one.useful_s for one in self.outcomes)
        return sum(one.lost_s for one in self.outcomes) / useful_s

    @property
    def head_gib(self) -> float:
        """What each program keeps of its records."""
        return (
            self.plan.hours
            / self.plan.heads
            * self.figures.records
            * (self.figures.record_bytes / 2**30)
        )

    @property
    def shard_mb(self) -> float:
        return self.plan.hours * self.figures.written_bytes / self.num_pieces / 1e6

    @property
    def store_gbit(self) -> float:
        """Read and written together, on the average."""
        moved = self.figures.read_bytes + self.figures.written_bytes
        return self.plan.hours * moved * 8 / self.seconds / 1e9

    @property
    def steps_s(self) -> float:
        """Clips that one head's diary is told of in a second."""
        clips = self.plan.hours * 3600 / self.plan.mean_length_s
        return clips / self.plan.heads / self.seconds


def simulate(plan: Plan, figures: Figures, longest_first: bool = False) -> Result:
    """Every head on its own share of hours and machines.

    Raises:
      ValueError: fewer machines than heads.
    """
    if plan.nodes < plan.heads:
        raise ValueError(f"{plan.heads} heads need as many machines, there are {plan.nodes}")
    outcomes, num_pieces, at_once_s = [], 0, 0.0
    for head in range(plan.heads):
        rng = np.random.default_rng([plan.seed, head])
        machines, pieces = _machines(plan, figures, rng), _pieces(plan, figures, rng)
        ordered = pieces.longest_first() if longest_first else pieces
        outcomes.append(scale_model.simulate(ordered, machines, seed=plan.seed * 1000 + head))
        at_once_s = max(at_once_s, scale_model.all_at_once(ordered, machines))
        num_pieces += len(pieces.cpu_s)
    return Result(plan, figures, tuple(outcomes), num_pieces, at_once_s)


def _machines(plan: Plan, figures: Figures, rng: np.random.Generator) -> SimulatedCluster:
    count = plan.nodes // plan.heads
    rate = plan.failures / 1000 / DAY_S
    return SimulatedCluster(
        speeds=scale_model.drawn_speeds(count, plan.speed_spread, plan.slow_share, rng),
        processes=plan.processes,
        failure_s=1 / rate if rate else np.inf,
        noticed_s=plan.noticed_s,
        replaced_s=plan.replaced_s,
        hand_out_s=1 / figures.tasks_s,
    )


def _pieces(plan: Plan, figures: Figures, rng: np.random.Generator) -> ShardJobs:
    hours = plan.hours / plan.heads
    lengths_s = scale_model.drawn_lengths_s(hours, plan.mean_length_s, plan.length_spread, rng)
    read_bytes = lengths_s / 3600 * figures.read_bytes
    starts = shard_starts(read_bytes.tolist(), plan.clips_a_shard, plan.mb_a_shard * 1e6)
    lengths_h = scale_model.job_sums(lengths_s, starts) / 3600
    # Each process has its share of the network of its machine, or of the store, if that is less.
    process_bytes_s = min(
        plan.machine_gbit / plan.processes, plan.store_gbit / plan.nodes / plan.processes
    ) * (1e9 / 8)
    moved = figures.read_bytes + figures.written_bytes
    return ShardJobs(lengths_h * figures.cpu_s, lengths_h * (moved / process_bytes_s))
