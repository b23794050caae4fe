"""One analysis worker as the server sees it: a process with a pipe, given one job at a time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from server import analysis_worker
from server.analysis_options import AnalysisOptions
from server.analysis_worker import WorkerSettings
from server.status import ServingError

Arrays = dict[str, np.ndarray]
Forward = Callable[[Arrays], Arrays]
Listen = Callable[[dict[str, Any]], None]

START_TIMEOUT_S = 180.0
POLL_S = 0.1

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One recording on its way.

    Attributes:
      file: None for words alone.
      name: how the answer calls the file.
      listen: called with each event, in the thread of the worker; None of them after the end.
      future: the answer as `predict --json` gives it, or a ServingError.
    """

    file: Path | None
    name: str
    options: AnalysisOptions
    listen: Listen
    future: Future[dict[str, Any]] = field(default_factory=Future)
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Nobody waits for it any more: it is dropped, or its worker killed."""
        self.is_cancelled.set()


class WorkerProcess:
    """A process with its pipe.

    Attributes:
      is_usable: it can take a job; not after one that did not come to its own end.
      resident_bytes: after the last job.
      told: what it said of itself when it was ready.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=analysis_worker.main,
            args=(theirs, settings, os.getpid()),
            name="analysis worker",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._is_at_rest = True
        self.resident_bytes = 0
        self.told: dict[str, Any] = {}

    @property
    def is_usable(self) -> bool:
        return self._is_at_rest and self._process.is_alive()

    def run(self, job: Job, forward: Forward, max_s: float) -> dict[str, Any]:
        """One job, to its end, its limit, or until nobody waits for it.

        Raises:
          ServingError: see `AnalysisPool.analyze`.
        """
        self._is_at_rest = False
        try:
            if not self.told:
                self._await_ready(job)
            self._connection.send(("job", _message(job)))
            ends_s = time.monotonic() + max_s
            return self._converse(job, forward, ends_s, max_s)
        except (EOFError, ConnectionError) as error:
            self._process.join(5.0)
            raise _crashed(job, self._process.exitcode) from error

    def stop(self) -> None:
        """Kills it, wherever it is."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()

    def _await_ready(self, job: Job) -> None:
        kind, told = self._receive(job, time.monotonic() + START_TIMEOUT_S, START_TIMEOUT_S)
        if kind != "ready":
            _log.error("no analysis: %s", told)
            raise unable()
        self.told = told

    def _converse(self, job: Job, forward: Forward, ends_s: float, max_s: float) -> dict[str, Any]:
        no_outputs: ServingError | None = None
        while True:
            kind, *told = self._receive(job, ends_s, max_s)
            if kind == "event":
                job.listen(told[0])
            elif kind == "forward":
                try:
                    self._connection.send(("outputs", forward(told[0])))
                except ServingError as error:
                    no_outputs = error
                    self._connection.send(("no outputs",))
            else:
                self._is_at_rest = True
                self.resident_bytes = told[-1]
                if kind == "done":
                    return dict(told[0])
                if kind == "refused":
                    raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, told[1], told[0])
                if no_outputs is not None:
                    raise no_outputs
                _log.error("analysis of an upload failed:\n%s", told[0])
                raise failed(job)

    def _receive(self, job: Job, ends_s: float, max_s: float) -> tuple[Any, ...]:
        while True:
            if job.is_cancelled.is_set():
                raise ServingError(grpc.StatusCode.CANCELLED, f"{job.name}: nobody waits for it")
            if time.monotonic() > ends_s:
                raise ServingError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"{job.name}: not done within {max_s:g} s; cut it into shorter pieces",
                )
            if self._connection.poll(POLL_S):
                return tuple(self._connection.recv())


def _message(job: Job) -> dict[str, Any]:
    return {"path": str(job.file) if job.file is not None else None, "name": job.name, "options": asdict(job.options)}


def _crashed(job: Job, exit_code: int | None) -> ServingError:
    how = "ended"
    if exit_code is not None and exit_code < 0:
        how = signal.Signals(-exit_code).name
    _log.error("a worker died at an upload (%s, exit code %s)", how, exit_code)
    return ServingError(
        grpc.StatusCode.INTERNAL,
        f"{job.name}: its decoder crashed, or ran out of memory; convert it and send it again",
    )


def unable() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE,
        "recordings cannot be analysed now; the server's log says why",
    )


def failed(job: Job) -> ServingError:
    return ServingError(
        grpc.StatusCode.INTERNAL, f"{job.name}: the analysis failed; the server's log says why"
    )
