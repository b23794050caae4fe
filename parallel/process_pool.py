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
from affectstream.parallel.tasks import Pool, TaskLimits, Work, WorkerDied

_SPAWN = multiprocessing.get_context("spawn")
# Value of a task that has not reported a step yet.
_NO_STEP = -1


@dataclass(frozen=True)
class ProcessPoolEngine:
    """A pool of `num_workers` processes; a process that died is replaced."""

    num_workers: int

    @contextlib.contextmanager
    def open(self, work: Work, limits: TaskLimits) -> Iterator[Pool]:
        pool = _ProcessPool(self.num_workers, work, limits)
        try:
            yield pool
        finally:
            pool.end()


class _ProcessPool:
    def __init__(self, num_workers: int, work: Work, limits: TaskLimits) -> None:
        self.capacity = num_workers + 1  # one waits, so that no process does
        self._num_workers = num_workers
        self._work = work
        self._limits = limits
        # Shared memory without a name, so that a killed process leaves nothing behind.
        self._steps = _SPAWN.RawArray("q", [_NO_STEP] * self.capacity)
        self._slots: dict[int, int] = {}
        self._task_ids: dict[Any, int] = {}
        self._processes = self._start_pool()

    def _start_pool(self) -> Any:
        return pebble.ProcessPool(
            self._num_workers,
            context=_SPAWN,
            initializer=_start,
            # With the work, which is then imported as a process starts and not within a task.
            initargs=(self._work, self._limits, self._steps),
        )

    def submit(self, task_id: int, task: Any) -> None:
        slot = min(set(range(self.capacity)) - set(self._slots.values()))
        self._slots[task_id] = slot
        self._steps[slot] = _NO_STEP
        try:
            future = self._processes.schedule(_run, (task, slot))
        except RuntimeError:  # an idle process died; pebble then refuses new tasks
            self.end()
            self._processes = self._start_pool()
            future = self._processes.schedule(_run, (task, slot))
        self._task_ids[future] = task_id

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        done, _ = wait(self._task_ids, timeout_s, FIRST_COMPLETED)
        ended = sorted((self._task_ids.pop(future), future) for future in done)
        return [
            (task_id, self._outcome(self._slots.pop(task_id), future)) for task_id, future in ended
        ]

    def _outcome(self, slot: int, future: Any) -> Any:
        try:
            return future.result()
        except pebble.ProcessExpired as error:
            step = self._steps[slot]
            told = resource_limits.describe_exit(error.exitcode, self._limits)
            return WorkerDied(None if step == _NO_STEP else step, told)
        except BrokenProcessPool as error:
            return WorkerDied(None, str(error), is_task_fault=False)

    def steps(self) -> dict[int, int]:
        told = {task_id: self._steps[slot] for task_id, slot in self._slots.items()}
        return {task_id: step for task_id, step in told.items() if step != _NO_STEP}

    def end(self) -> None:
        """Ends all processes."""
        self._processes.stop()
        self._processes.join()


# === In the process ===


@dataclass
class _WorkerState:
    """What this process was started with."""

    work: Work
    limits: TaskLimits
    steps: Any


_worker_state: list[_WorkerState] = []


def _start(work: Work, limits: TaskLimits, steps: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource_limits.die_with_parent()
    resource_limits.enforce_limits(limits)
    _worker_state[:] = [_WorkerState(work, limits, steps)]


def _run(task: Any, slot: int) -> Any:
    (mine,) = _worker_state

    def report_step(step: int) -> None:
        mine.steps[slot] = step
        resource_limits.begin_step(mine.limits)

    try:
        return mine.work(task, report_step)
    finally:
        resource_limits.end_step()
