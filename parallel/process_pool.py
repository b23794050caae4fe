"""Engine that runs tasks in local worker processes, which may crash independently."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from affectstream.parallel.isolated_worker import Emit, IsolatedWorker, WorkerDiedError
from affectstream.parallel.tasks import Pool, TaskLimits, Work, WorkerDied


@dataclass(frozen=True)
class ProcessPoolEngine:
    """A pool of `num_workers` processes; a process that died is replaced."""

    num_workers: int

    @contextlib.contextmanager
    def open(self, work: Work, limits: TaskLimits) -> Iterator[Pool]:
        with contextlib.ExitStack() as stack:
            workers = [
                # Imported with the work at the start of a process, not within a task.
                stack.enter_context(IsolatedWorker(limits, (work,)))
                for _ in range(self.num_workers)
            ]
            yield _ProcessPool(workers, work)


class _ProcessPool:
    def __init__(self, workers: list[IsolatedWorker], work: Work) -> None:
        self.capacity = len(workers) + 1  # one task waits, so that no process is idle
        self._work = work
        self._idle = deque(workers)
        self._busy: dict[int, IsolatedWorker] = {}
        self._waiting: deque[tuple[int, Any]] = deque()
        self._steps: dict[int, int] = {}
        self._ended: list[tuple[int, Any]] = []

    def submit(self, task_id: int, task: Any) -> None:
        self._waiting.append((task_id, task))
        self._assign_waiting()

    def _assign_waiting(self) -> None:
        while self._idle and self._waiting:
            task_id, task = self._waiting.popleft()
            self._busy[task_id] = worker = self._idle.popleft()
            try:
                worker.start(_run, self._work, task)
            except WorkerDiedError as error:
                self._end(task_id, WorkerDied(None, str(error)))

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        task_ids = {worker.channel: task_id for task_id, worker in self._busy.items()}
        ready: list[Any] = connection.wait(task_ids, 0 if self._ended else timeout_s)
        for task_id in sorted(task_ids[channel] for channel in ready):
            self._receive(task_id)
        self._assign_waiting()
        ended, self._ended = self._ended, []
        return ended

    def _receive(self, task_id: int) -> None:
        try:
            is_result, value = self._busy[task_id].receive()
        except WorkerDiedError as error:
            self._end(task_id, WorkerDied(self._steps.get(task_id), str(error)))
            return
        if is_result:
            self._end(task_id, value)
        else:
            self._steps[task_id] = value

    def _end(self, task_id: int, outcome: Any) -> None:
        self._idle.append(self._busy.pop(task_id))
        self._steps.pop(task_id, None)
        self._ended.append((task_id, outcome))

    def steps(self) -> dict[int, int]:
        return dict(self._steps)


def _run(emit: Emit, work: Work, task: Any) -> Any:
    """Runs in the process; yields the steps reported by the work."""
    return work(task, emit)
