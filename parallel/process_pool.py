"""Engine that runs tasks in local worker processes, which may crash independently."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import pebble

from affectstream.parallel import resource_limits
from affectstream.parallel.tasks import Died, Limits, Pool, Work

_SPAWN = multiprocessing.get_context("spawn")
# Value of a task that has not reported a step yet.
_NONE = -1


@dataclass(frozen=True)
class Local:
    """A pool of `num_workers` processes; a process that died is replaced."""

    num_workers: int

    @contextlib.contextmanager
    def open(self, work: Work, limits: Limits) -> Iterator[Pool]:
        pool = _ProcessPool(self.num_workers, work, limits)
        try:
            yield pool
        finally:
            pool.end()


class _ProcessPool:
    def __init__(self, num_workers: int, work: Work, limits: Limits) -> None:
        self.capacity = num_workers + 1  # one waits, so that no process does
        self._num_workers = num_workers
        self._work = work
        self._limits = limits
        # Shared memory without a name, so that a killed process leaves nothing behind.
        self._steps = _SPAWN.RawArray("q", [_NONE] * self.capacity)
        self._places: dict[int, int] = {}
        self._tickets: dict[Any, int] = {}
        self._processes = self._started()

    def _started(self) -> Any:
        return pebble.ProcessPool(
            self._num_workers,
            context=_SPAWN,
            initializer=_start,
            # With the work, which is then imported as a process starts and not within a task.
            initargs=(self._work, self._limits, self._steps),
        )

    def submit(self, ticket: int, task: Any) -> None:
        place = min(set(range(self.capacity)) - set(self._places.values()))
        self._places[ticket] = place
        self._steps[place] = _NONE
        try:
            future = self._processes.schedule(_run, (task, place))
        except RuntimeError:  # an idle process died; pebble then refuses new tasks
            self.end()
            self._processes = self._started()
            future = self._processes.schedule(_run, (task, place))
        self._tickets[future] = ticket

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        done, _ = wait(self._tickets, timeout_s, FIRST_COMPLETED)
        ended = sorted((self._tickets.pop(future), future) for future in done)
        return [
            (ticket, self._outcome(self._places.pop(ticket), future)) for ticket, future in ended
        ]

    def _outcome(self, place: int, future: Any) -> Any:
        try:
            return future.result()
        except pebble.ProcessExpired as error:
            step = self._steps[place]
            told = resource_limits.told(error.exitcode, self._limits)
            return Died(None if step == _NONE else step, told)
        except BrokenProcessPool as error:
            return Died(None, str(error), is_task_fault=False)

    def steps(self) -> dict[int, int]:
        told = {ticket: self._steps[place] for ticket, place in self._places.items()}
        return {ticket: step for ticket, step in told.items() if step != _NONE}

    def end(self) -> None:
        """Ends all processes."""
        self._processes.stop()
        self._processes.join()


# === In the process ===


@dataclass
class _WorkerState:
    """What this process was started with."""

    work: Work
    limits: Limits
    steps: Any


_worker_state: list[_WorkerState] = []


def _start(work: Work, limits: Limits, steps: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource_limits.die_with_parent()
    resource_limits.watch(limits)
    _worker_state[:] = [_WorkerState(work, limits, steps)]


def _run(task: Any, place: int) -> Any:
    (mine,) = _worker_state

    def tell(step: int) -> None:
        mine.steps[place] = step
        resource_limits.begin_step(mine.limits)

    try:
        return mine.work(task, tell)
    finally:
        resource_limits.end_step()
