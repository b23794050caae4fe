"""Runs independent tasks on any engine, and repeats a task whose process died."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from affectstream.core.errors import UserError

Task = TypeVar("Task")
# Called by the work at the beginning of each step, with its number from 0.
ReportStep = Callable[[int], None]
Work = Callable[[Any, ReportStep], Any]
# Interval between checks for results and steps.
POLL_S = 0.2
# A step that ended this many processes is not tried again.
MAX_DEATHS = 2
# A task that lost this many nodes indicates a faulty cluster.
MAX_LOST_MACHINES = 20


@dataclass(frozen=True)
class TaskLimits:
    """Limits of one step of a task; a process that exceeds them is killed.

    Attributes:
      step_timeout_s: seconds between two reports of steps.
      memory_bytes: of the whole process.
    """

    step_timeout_s: float = math.inf
    memory_bytes: float = math.inf


@dataclass(frozen=True)
class WorkerDied:
    """The process of a task ended before the task did.

    Attributes:
      step: current step; None before the first one.
      reason: why it ended, as text after the name of the file that was read.
      is_task_fault: False if the machine was lost, which does not depend on the task.
    """

    step: int | None
    reason: str
    is_task_fault: bool = True


class Pool(Protocol):
    """Processes for one kind of work.

    Attributes:
      capacity: number of submitted tasks that keeps all processes busy.
    """

    @property
    def capacity(self) -> int: ...

    def submit(self, task_id: int, task: Any) -> None:
        """Submits a task; `task_id` identifies it."""

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        """Task id and result or `WorkerDied` of ended tasks; waits up to `timeout_s` for one.

        Raises:
          exceptions of the work.
        """

    def steps(self) -> dict[int, int]:
        """Task id -> the step last reported by a running task."""


class Engine(Protocol):
    """A way to run tasks, chosen on the command line."""

    def open(self, work: Work, limits: TaskLimits) -> AbstractContextManager[Pool]:
        """Starts processes for this work; kills those that still run when the context exits."""


@dataclass
class _Underway(Generic[Task]):
    task: Task
    num_lost: int = 0


def run(
    pool: Pool,
    tasks: Iterable[Task],
    make_retry_task: Callable[[Task, WorkerDied], Task],
    on_steps: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Task, Any]]:
    """Yields each task with its result, in order of completion.

    Tasks are taken from the iterable only as fast as they are processed.

    Args:
      make_retry_task: creates the replacement of a task whose process died.
      on_steps: called regularly with the number of steps done by running tasks.
    Raises:
      UserError: machines are lost repeatedly; also any exception of the work or of
        `make_retry_task`.
    """
    source, again = iter(tasks), deque[_Underway[Task]]()
    running: dict[int, _Underway[Task]] = {}
    task_id, is_drained = 0, False
    while True:
        while len(running) < pool.capacity and not (is_drained and not again):
            one = again.popleft() if again else next((_Underway(t) for t in source), None)
            if one is None:
                is_drained = True
                continue
            running[task_id] = one
            pool.submit(task_id, one.task)
            task_id += 1
        if not running:
            return
        for ended, outcome in pool.finished(POLL_S):
            one = running.pop(ended)
            if isinstance(outcome, WorkerDied):
                again.append(_repeated(one, outcome, make_retry_task))
            else:
                yield one.task, outcome
        on_steps(sum(step for which, step in pool.steps().items() if which in running))


def _repeated(
    one: _Underway[Task], died: WorkerDied, make_retry_task: Callable[[Task, WorkerDied], Task]
) -> _Underway[Task]:
    if died.is_task_fault:
        return _Underway(make_retry_task(one.task, died), one.num_lost)
    if one.num_lost >= MAX_LOST_MACHINES:
        raise UserError(f"lost {MAX_LOST_MACHINES} machines over one task: {died.reason}")
    return _Underway(one.task, one.num_lost + 1)
