"""Tasks in processes of this machine, each of which may die without the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pebble

from engines import guard
from engines.tasks import Died, Limits, Pool, Work

# A step is written in so many bytes at once, so that none is ever read half written.
_STEP_BYTES = 12


@dataclass(frozen=True)
class Local:
    """So many processes, started afresh where one died."""

    num_workers: int

    @contextlib.contextmanager
    def open(self, work: Work, limits: Limits) -> Iterator[Pool]:
        with tempfile.TemporaryDirectory(prefix="steps-") as folder:
            processes = pebble.ProcessPool(
                self.num_workers,
                context=multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=(limits,),
            )
            try:
                yield _LocalPool(processes, self.num_workers, work, limits, Path(folder))
            finally:
                processes.stop()
                processes.join()


class _LocalPool:
    def __init__(
        self, processes: Any, num_workers: int, work: Work, limits: Limits, folder: Path
    ) -> None:
        self.capacity = num_workers + 1  # one waits, so that no process does
        self._processes = processes
        self._work = work
        self._limits = limits
        self._folder = folder
        self._tickets: dict[Any, int] = {}

    def submit(self, ticket: int, task: Any) -> None:
        words = (self._work, task, self._file(ticket), self._limits)
        self._tickets[self._processes.schedule(_run, words)] = ticket

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        done, _ = wait(self._tickets, timeout_s, FIRST_COMPLETED)
        ended = [(self._tickets.pop(future), future) for future in done]
        return [(ticket, self._outcome(ticket, future)) for ticket, future in sorted(ended)]

    def _outcome(self, ticket: int, future: Any) -> Any:
        step = _read_step(self._file(ticket))
        self._file(ticket).unlink(missing_ok=True)
        try:
            return future.result()
        except pebble.ProcessExpired as error:
            return Died(step, guard.told(error.exitcode, self._limits))

    def steps(self) -> dict[int, int]:
        read = {ticket: _read_step(self._file(ticket)) for ticket in self._tickets.values()}
        return {ticket: step for ticket, step in read.items() if step is not None}

    def _file(self, ticket: int) -> Path:
        return self._folder / str(ticket)


def _read_step(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):  # made, nothing written yet
        return None


# === In the process ===


def _start(limits: Limits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard.die_with_parent()
    guard.watch(limits)


def _run(work: Work, task: Any, file: Path, limits: Limits) -> Any:
    number = os.open(file, os.O_WRONLY | os.O_CREAT)

    def tell(step: int) -> None:
        os.pwrite(number, f"{step:{_STEP_BYTES}d}".encode(), 0)
        guard.begin_step(limits)

    try:
        return work(task, tell)
    finally:
        guard.end_steps()
        os.close(number)
