"""Pieces of work on many machines that are unlike, slow and die: a discrete-event simulation.

It follows `affectstream.parallel.tasks`: pieces are handed out one after the other by one program,
to whichever process is free; those of a lost machine go first to the next. Nothing else is
modelled.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ENDS, FAILS, RETURNS, STANDS = range(4)


@dataclass(frozen=True)
class SimulatedCluster:
    """One cluster with one program that hands out.

    Attributes:
      speeds: (machines,) how fast each is; 1 is the machine on which costs were measured.
      failure_s: mean seconds between failures of one machine.
      noticed_s: until the program knows that a machine is gone.
      replaced_s: until another stands in its place.
      hand_out_s: the program needs for each piece, one after the other.
    """

    speeds: np.ndarray
    processes: int
    failure_s: float = math.inf
    noticed_s: float = 0.0
    replaced_s: float = 0.0
    hand_out_s: float = 0.0


@dataclass(frozen=True)
class ShardJobs:
    """Work in the order in which it is handed out.

    Attributes:
      cpu_s: (pieces,) seconds of one process on a machine of speed 1.
      store_s: (pieces,) least seconds for reading and writing; waits for no processor.
    """

    cpu_s: np.ndarray
    store_s: np.ndarray

    def longest_first(self) -> ShardJobs:
        order = np.argsort(-self.cpu_s, kind="stable")
        return ShardJobs(self.cpu_s[order], self.store_s[order])


@dataclass(frozen=True)
class SimulationResult:
    """What a run took.

    Attributes:
      seconds: from the first piece handed out to the end of the last.
      useful_s, lost_s: of processes, for pieces that were done and that were lost.
      idle: share of all processes' time in which they had nothing to do.
    """

    seconds: float
    useful_s: float
    lost_s: float
    num_lost: int
    num_failures: int
    idle: float


class _Run:
    """The state of one simulation."""

    def __init__(
        self,
        pieces: ShardJobs,
        machines: SimulatedCluster,
        seed: int,
        failures: Sequence[tuple[float, int]] | None,
    ) -> None:
        self._machines = machines
        self._rng = np.random.default_rng(seed)
        self._given_failures = failures
        # Lists, for single values of arrays are slow to take.
        self._cpu_s: list[float] = pieces.cpu_s.tolist()
        self._store_s: list[float] = pieces.store_s.tolist()
        self._speeds: list[float] = machines.speeds.tolist()
        self._next, self._again = 0, deque[int]()
        self._left = len(self._cpu_s)
        self._free: deque[tuple[int, int]] = deque()
        # Machine -> process -> (piece, when it began, when it will end).
        self._running: list[dict[int, tuple[int, float, float]]] = [{} for _ in machines.speeds]
        self._life = [0] * len(machines.speeds)
        self._hand_out_free_s = 0.0
        self._events: list[tuple[float, int, int, int, int]] = []
        self.useful_s = self.lost_s = self.last_s = 0.0
        self.num_lost = self.num_failures = 0

    def run(self) -> SimulationResult:
        count = len(self._machines.speeds)
        for process in range(self._machines.processes):
            for machine in range(count):
                self._give(0.0, machine, process)
        for machine in range(count):
            self._plan_failure(0.0, machine)
        for when_s, machine in self._given_failures or ():
            heapq.heappush(self._events, (when_s, FAILS, machine, 0, 0))
        while self._left:
            self._step(*heapq.heappop(self._events))
        total_s = self.last_s * count * self._machines.processes
        idle = 1 - (self.useful_s + self.lost_s) / total_s if total_s else 0.0
        return SimulationResult(
            self.last_s, self.useful_s, self.lost_s, self.num_lost, self.num_failures, idle
        )

    def _step(self, now_s: float, kind: int, machine: int, number: int, life: int) -> None:
        if kind == ENDS and life == self._life[machine]:
            _, began_s, _ = self._running[machine].pop(number)
            self.useful_s += now_s - began_s
            self.last_s = now_s
            self._left -= 1
            self._give(now_s, machine, number)
        elif kind == FAILS:
            self._fail(now_s, machine)
        elif kind == RETURNS:
            self._again.append(number)
            if self._free:
                self._give(now_s, *self._free.popleft())
        elif kind == STANDS:
            for process in range(self._machines.processes):
                self._give(now_s, machine, process)
            self._plan_failure(now_s, machine)

    def _give(self, now_s: float, machine: int, process: int) -> None:
        if self._again:
            piece = self._again.popleft()
        elif self._next < len(self._cpu_s):
            piece = self._next
            self._next += 1
        else:
            self._free.append((machine, process))
            return
        begins_s = max(now_s, self._hand_out_free_s) + self._machines.hand_out_s
        self._hand_out_free_s = begins_s
        takes_s = max(self._cpu_s[piece] / self._speeds[machine], self._store_s[piece])
        ends_s = begins_s + takes_s
        self._running[machine][process] = (piece, begins_s, ends_s)
        heapq.heappush(self._events, (ends_s, ENDS, machine, process, self._life[machine]))

    def _fail(self, now_s: float, machine: int) -> None:
        machines = self._machines
        self.num_failures += 1
        self._life[machine] += 1
        for piece, began_s, _ in self._running[machine].values():
            self.lost_s += max(now_s - began_s, 0.0)
            self.num_lost += 1
            heapq.heappush(self._events, (now_s + machines.noticed_s, RETURNS, machine, piece, 0))
        self._running[machine].clear()
        self._free = deque(one for one in self._free if one[0] != machine)
        heapq.heappush(self._events, (now_s + machines.replaced_s, STANDS, machine, 0, 0))

    def _plan_failure(self, now_s: float, machine: int) -> None:
        if self._given_failures is None and math.isfinite(self._machines.failure_s):
            when_s = now_s + float(self._rng.exponential(self._machines.failure_s))
            heapq.heappush(self._events, (when_s, FAILS, machine, 0, 0))


def simulate(
    pieces: ShardJobs,
    machines: SimulatedCluster,
    seed: int = 0,
    failures: Sequence[tuple[float, int]] | None = None,
) -> SimulationResult:
    """All pieces done.

    Args:
      failures: (seconds, machine) in place of drawn ones.
    """
    return _Run(pieces, machines, seed, failures).run()


def all_at_once(pieces: ShardJobs, machines: SimulatedCluster) -> float:
    """Seconds when every process is given its share of the pieces beforehand, by their number."""
    num_machines = len(machines.speeds)
    places = np.arange(len(pieces.cpu_s)) % (num_machines * machines.processes)
    takes_s = np.maximum(pieces.cpu_s / machines.speeds[places % num_machines], pieces.store_s)
    return float(np.bincount(places, takes_s).max())


def drawn_speeds(
    num: int, spread: float, slow_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Lognormal about 1; a share of the machines runs at half of that."""
    speeds = rng.lognormal(0.0, spread, num)
    return np.where(rng.random(num) < slow_share, speeds / 2, speeds)


def drawn_lengths_s(
    hours: float, mean_s: float, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """Lognormal lengths of recordings with that mean, `hours` together."""
    count = max(1, round(hours * 3600 / mean_s))
    lengths = rng.lognormal(0.0, spread, count)
    return lengths * (hours * 3600 / lengths.sum())


def job_sums(values: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Sums over the recordings of each piece, which begins at one of `starts`."""
    return np.add.reduceat(values, starts)
