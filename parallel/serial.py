"""Engine that runs tasks in this process, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from affectstream.parallel.tasks import Pool, TaskLimits, Work


@dataclass(frozen=True)
class SerialEngine:
    """No isolation: a crash ends the program and limits are ignored."""

    @contextlib.contextmanager
    def open(self, work: Work, limits: TaskLimits) -> Iterator[Pool]:
        yield _SerialPool(work)


class _SerialPool:
    capacity = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._ended: list[tuple[int, Any]] = []

    def submit(self, task_id: int, task: Any) -> None:
        self._ended.append((task_id, self._work(task, lambda _: None)))

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        ended, self._ended = self._ended, []
        return ended

    def steps(self) -> dict[int, int]:
        return {}
