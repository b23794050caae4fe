"""Work for engine tests: a task lists the faults of its steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from affectstream.core import progress
from affectstream.core.errors import UserError
from affectstream.parallel.tasks import ReportStep, TaskLimits, WorkerDied

# Each is reached by one of the faults below.
LIMITS = TaskLimits(step_timeout_s=1.5, memory_bytes=600 * 2**20)
# Fault -> what is said of the process.
DEATHS = (
    ("die", "ended its process with code 7"),
    ("kill", "ended its process by SIGSEGV"),
    ("hang", "took longer than 1.5 s"),
    ("spin", "took longer than 1.5 s"),
    ("eat", "needs more than 0.59 GiB of memory"),
)


@dataclass(frozen=True)
class FaultyTask:
    """A task of some steps.

    Attributes:
      faults: step -> "die", "kill", "hang", "spin", "eat", "refuse", "divide", "stubborn".
      deaths: what was said of earlier tries.
    """

    name: str
    num_steps: int = 3
    faults: dict[int, str] = field(default_factory=dict)
    deaths: tuple[WorkerDied, ...] = ()
    pause_s: float = 0.0

    def after(self, died: WorkerDied) -> FaultyTask:
        """Without the fault at a step that died twice."""
        deaths = (*self.deaths, died)
        at = [one.step for one in deaths if one.is_task_fault]
        left = {step: fault for step, fault in self.faults.items() if at.count(step) < 2}
        return FaultyTask(self.name, self.num_steps, left, deaths, self.pause_s)


def work(task: FaultyTask, report_step: ReportStep) -> str:
    """The name of the task, and how often its process died."""
    for step in range(task.num_steps):
        report_step(step)
        time.sleep(task.pause_s)
        _go_wrong(task.faults.get(step, ""))
    return f"{task.name} {len(task.deaths)}"


class StubbornError(Exception):
    """Cannot be unpickled, as many exceptions of libraries."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__("stubborn")


def _go_wrong(fault: str) -> None:
    if fault == "die":
        os._exit(7)
    elif fault == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "hang":
        time.sleep(600)
    elif fault == "spin":
        sum(range(10**12))  # one call into C that never lets the interpreter go
    elif fault == "eat":
        held = b"x" * (650 * 2**20)
        time.sleep(600)
        del held
    elif fault == "refuse":
        raise UserError("disk full; free some space")
    elif fault == "divide":
        raise ZeroDivisionError
    elif fault == "stubborn":
        raise StubbornError(1, 2)


_yielded: list[int] = []


def pieces(count: int, faults: Mapping[int, str] = MappingProxyType({})) -> Iterator[int]:
    """Numbers, with a fault before some of them."""
    for number in range(count):
        _go_wrong(faults.get(number, ""))
        yield number


def counted(count: int) -> Iterator[int]:
    """Numbers under a progress bar."""
    yield from progress.track(range(count), count, "counted", "number")


def unending(num_bytes: int) -> Iterator[bytes]:
    """As many pieces as anybody takes."""
    _yielded.clear()
    while True:
        _yielded.append(num_bytes)
        yield b"x" * num_bytes


def num_yielded() -> Iterator[int]:
    """How far `unending` came in this process."""
    yield len(_yielded)


def process(task: FaultyTask, report_step: ReportStep) -> int:
    """The process that did it."""
    for step in range(task.num_steps):
        report_step(step)
        time.sleep(task.pause_s)
    return os.getpid()
