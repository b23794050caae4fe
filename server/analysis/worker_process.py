"""Server side of one analysis worker: a process with one job at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from affectstream.parallel import messages
from affectstream.parallel.child_process import ChildProcess
from affectstream.parallel.messages import Message, MessageError
from affectstream.parallel.tasks import TaskLimits
from affectstream.server.analysis import analysis_worker
from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_worker import WorkerSettings
from affectstream.server.errors import ServingError

Arrays = dict[str, np.ndarray]
Forward = Callable[[Arrays], Arrays]
EventCallback = Callable[[dict[str, Any]], None]

START_TIMEOUT_S = 180.0
# Wait between attempts while the model's queue is full.
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0
EVENTS = ("start", "sound", "progress", "window")
REFUSALS = (400, 413, 422)
_ENDS = {"done": {"result": dict}, "refused": {"status": int, "line": str}, "failed": {"line": str}}

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One analysis job.

    Attributes:
      file: None for text alone.
      name: name of the file in the prediction.
      on_event: called with each event, in the worker's thread; never after the end.
      vocabulary: tokens in id order of the version that predicts; empty for a model without text.
      future: the prediction in the format of `predict --json`, or a ServingError.
    """

    file: Path | None
    name: str
    options: AnalysisOptions
    on_event: EventCallback
    vocabulary: list[str] = field(default_factory=list)
    future: Future[dict[str, Any]] = field(default_factory=Future)
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Cancels the job: it is dropped, or its worker is killed."""
        self.is_cancelled.set()


class WorkerProcess:
    """A process with a channel to it; its messages are not trusted.

    Raises:
      OSError: the process cannot be started.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        limits = TaskLimits(settings.max_job_s)
        self._child = ChildProcess(analysis_worker.main, limits, settings)
        self._is_ready = False
        self._is_at_rest = True

    @property
    def is_usable(self) -> bool:
        """Whether it can take a job; False after a job that did not end by itself."""
        return self._is_at_rest and self._child.is_alive

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        return self._child.resident_bytes

    def run(self, job: Job, forward: Forward, max_s: float) -> dict[str, Any]:
        """Runs one job to its end, its limit, or its cancellation.

        Raises:
          ServingError: see `AnalysisPool.submit`.
        """
        self._is_at_rest = False
        try:
            if not self._is_ready:
                with self._bounded(job, START_TIMEOUT_S, _late_start(), self._died_at_start):
                    self._await_ready()
            with self._bounded(job, max_s, _too_slow(job, max_s), lambda: self._crashed(job)):
                return self._converse(job, forward, time.monotonic() + max_s)
        except MessageError as error:
            _log.error("a worker sent nonsense: %s", error)
            raise analysis_failed(job) from error

    def stop(self) -> None:
        """Kills the process in any state."""
        self._child.close()

    @contextlib.contextmanager
    def _bounded(
        self, job: Job, max_s: float, late: ServingError, crashed: Callable[[], ServingError]
    ) -> Iterator[None]:
        """Kills the process at its time limit or on cancellation; raises why the channel ended."""
        ends_s = time.monotonic() + max_s

        def is_due() -> bool:
            return job.is_cancelled.is_set() or time.monotonic() > ends_s

        try:
            with self._child.killed_when(is_due):
                yield
        except EOFError as error:
            if job.is_cancelled.is_set():
                raise _cancelled(job) from error
            raise (late if is_due() else crashed()) from error

    def _await_ready(self) -> None:
        message = messages.receive(self._child.channel)
        if message.kind != "ready":
            _log.error("no analysis: %s", message.body)
            raise analysis_unavailable()
        self._is_ready = True

    def _converse(self, job: Job, forward: Forward, ends_s: float) -> dict[str, Any]:
        channel = self._child.channel
        path = str(job.file) if job.file is not None else None
        content = {
            "path": path,
            "name": job.name,
            "options": asdict(job.options),
            "vocabulary": job.vocabulary,
        }
        messages.send(channel, "job", content)
        no_outputs: ServingError | None = None
        while True:
            message = messages.receive(channel)
            if message.kind == "event":
                job.on_event(_event(message.body))
            elif message.kind == "forward":
                try:
                    outputs = retry_when_full(job, forward, message.arrays, ends_s)
                    messages.send(channel, "outputs", arrays=outputs)
                except ServingError as error:
                    no_outputs = error
                    messages.send(channel, "no outputs")
            else:
                body = _end_of_job(message)
                self._is_at_rest = True
                if message.kind == "done":
                    return _dict(body["result"])
                if message.kind == "refused":
                    code = grpc.StatusCode.INVALID_ARGUMENT
                    raise ServingError(code, body["line"], body["status"])
                if no_outputs is not None:
                    raise no_outputs
                _log.error("analysis of an upload failed:\n%s", body["line"])
                raise analysis_failed(job)

    def _died_at_start(self) -> ServingError:
        reason = self._child.exit_reason()
        _log.error("no analysis: a worker %s before its first recording", reason)
        return analysis_unavailable()

    def _crashed(self, job: Job) -> ServingError:
        _log.error("at an upload a worker %s", self._child.exit_reason())
        return ServingError(  # the file's error, not the server's, which continues
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{job.name}: its decoder crashed, or ran out of memory; convert it and send it again",
            422,
        )


def retry_when_full(job: Job, forward: Forward, inputs: Arrays, ends_s: float) -> Arrays:
    """Retries while the model's queue is full, so that the decoding is not wasted."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return forward(inputs)
        except ServingError as error:
            is_full = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if not is_full or time.monotonic() + 2 * wait_s > ends_s:
                raise
        if job.is_cancelled.wait(wait_s):
            raise _cancelled(job)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


# === Validation of worker messages ===


def _dict(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise MessageError("no object")
    return body


def _event(body: Any) -> dict[str, Any]:
    # Whether the stream has ended is decided by the server.
    if _dict(body).get("event") not in EVENTS:
        raise MessageError("no event of a job")
    return _dict(body)


def _end_of_job(message: Message) -> dict[str, Any]:
    body, wanted = _dict(message.body), _ENDS.get(message.kind)
    if wanted is None or {name: type(value) for name, value in body.items()} != wanted:
        raise MessageError(f"{message.kind[:40]!r} with fields of its own")
    if message.kind == "refused" and body["status"] not in REFUSALS:
        raise MessageError("refused with a status of its own")
    return body


# === Errors ===


def _too_slow(job: Job, max_s: float) -> ServingError:
    return ServingError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"{job.name}: not done within {max_s:g} s; cut it into shorter pieces",
    )


def _late_start() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE,
        f"no worker for recordings was ready within {START_TIMEOUT_S:g} s; come again later",
    )


def _cancelled(job: Job) -> ServingError:
    return ServingError(grpc.StatusCode.CANCELLED, f"{job.name}: nobody waits for it")


def analysis_unavailable() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE,
        "recordings cannot be analysed now; the server's log says why",
    )


def analysis_failed(job: Job) -> ServingError:
    return ServingError(
        grpc.StatusCode.INTERNAL, f"{job.name}: the analysis failed; the server's log says why"
    )
