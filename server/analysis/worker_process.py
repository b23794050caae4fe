"""One analysis worker as the server sees it: a process with a pipe, given one job at a time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from affectstream.server.analysis import analysis_worker
from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_worker import WorkerSettings
from affectstream.server.analysis.worker_messages import Channel, Message, MessageError
from affectstream.server.errors import ServingError

Arrays = dict[str, np.ndarray]
Forward = Callable[[Arrays], Arrays]
EventCallback = Callable[[dict[str, Any]], None]

START_TIMEOUT_S = 180.0
POLL_S = 0.1
# Between tries where the model's queue is full.
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0
EVENTS = ("start", "sound", "progress", "window")
REFUSALS = (400, 413, 422)
_ENDS = {
    "done": {"result": dict, "resident_bytes": int},
    "refused": {"status": int, "line": str, "resident_bytes": int},
    "failed": {"line": str, "resident_bytes": int},
}

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One recording on its way.

    Attributes:
      file: None for words alone.
      name: how the answer calls the file.
      on_event: called with each event, in the thread of the worker; None of them after the end.
      vocabulary: token of each number of the version that answers; empty for a model without text.
      future: the answer as `predict --json` gives it, or a ServingError.
    """

    file: Path | None
    name: str
    options: AnalysisOptions
    on_event: EventCallback
    vocabulary: list[str] = field(default_factory=list)
    future: Future[dict[str, Any]] = field(default_factory=Future)
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Nobody waits for it any more: it is dropped, or its worker killed."""
        self.is_cancelled.set()


class WorkerProcess:
    """A process with a channel to it; nothing that it sends is trusted.

    Attributes:
      is_usable: it can take a job; not after one that did not come to its own end.
      resident_bytes: after the last job.
      process_info: what it said of itself when it was ready.

    Raises:
      OSError: the system gives no process.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, POLL_S)
        self._process = context.Process(
            target=analysis_worker.main,
            args=(theirs, settings, os.getpid()),
            name="analysis worker",
            daemon=True,
        )
        try:
            self._process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._is_at_rest = True
        self.resident_bytes = 0
        self.process_info: dict[str, Any] = {}

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
            if not self.process_info:
                self._await_ready(job)
            return self._converse(job, forward, max_s)
        except (EOFError, ConnectionError) as error:
            self._process.join(5.0)
            raise _crashed(job, self._process.exitcode) from error
        except MessageError as error:
            _log.error("a worker sent nonsense: %s", error)
            raise analysis_failed(job) from error

    def stop(self) -> None:
        """Kills it, wherever it is."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._channel.close()

    def _await_ready(self, job: Job) -> None:
        late = _late_start()
        try:
            message = self._channel.receive(_until(job, time.monotonic() + START_TIMEOUT_S, late))
        except (EOFError, ConnectionError) as error:
            _log.error("no analysis: a worker died before its first recording")
            raise analysis_unavailable() from error
        if message.kind != "ready":
            _log.error("no analysis: %s", message.body)
            raise analysis_unavailable()
        self.process_info = _dict(message.body)

    def _converse(self, job: Job, forward: Forward, max_s: float) -> dict[str, Any]:
        ends_s = time.monotonic() + max_s
        look = _until(job, ends_s, _too_slow(job, max_s))
        self._channel.send("job", _content(job), on_poll=look)
        no_outputs: ServingError | None = None
        while True:
            message = self._channel.receive(look)
            if message.kind == "event":
                job.on_event(_event(message.body))
            elif message.kind == "forward":
                try:
                    outputs = retry_when_full(job, forward, message.arrays, ends_s)
                    self._channel.send("outputs", arrays=outputs, on_poll=look)
                except ServingError as error:
                    no_outputs = error
                    self._channel.send("no outputs", on_poll=look)
            else:
                body = _end_of_job(message)
                self._is_at_rest = True
                self.resident_bytes = body["resident_bytes"]
                if message.kind == "done":
                    return _dict(body["result"])
                if message.kind == "refused":
                    code = grpc.StatusCode.INVALID_ARGUMENT
                    raise ServingError(code, body["line"], body["status"])
                if no_outputs is not None:
                    raise no_outputs
                _log.error("analysis of an upload failed:\n%s", body["line"])
                raise analysis_failed(job)


def _until(job: Job, ends_s: float, late: ServingError) -> Callable[[], None]:
    """Returns a check that raises after the deadline, or once the job is cancelled."""

    def look() -> None:
        if job.is_cancelled.is_set():
            raise ServingError(grpc.StatusCode.CANCELLED, f"{job.name}: nobody waits for it")
        if time.monotonic() > ends_s:
            raise late

    return look


def retry_when_full(job: Job, forward: Forward, inputs: Arrays, ends_s: float) -> Arrays:
    """Retries while the model's queue is full, so that the decoding done is not lost."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return forward(inputs)
        except ServingError as error:
            is_full = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if not is_full or time.monotonic() + 2 * wait_s > ends_s:
                raise
        if job.is_cancelled.wait(wait_s):
            raise ServingError(grpc.StatusCode.CANCELLED, f"{job.name}: nobody waits for it")
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


# === What is believed of a worker ===


def _dict(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise MessageError("no object")
    return body


def _event(body: Any) -> dict[str, Any]:
    # It has no say in how the stream ends.
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


def _content(job: Job) -> dict[str, Any]:
    path = str(job.file) if job.file is not None else None
    return {
        "path": path,
        "name": job.name,
        "options": asdict(job.options),
        "vocabulary": job.vocabulary,
    }


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


def _crashed(job: Job, exit_code: int | None) -> ServingError:
    how = "ended"
    if exit_code is not None and exit_code < 0:
        how = signal.Signals(-exit_code).name
    _log.error("a worker died at an upload (%s, exit code %s)", how, exit_code)
    return ServingError(  # of the file, not of the server, which goes on
        grpc.StatusCode.INVALID_ARGUMENT,
        f"{job.name}: its decoder crashed, or ran out of memory; convert it and send it again",
        422,
    )


def analysis_unavailable() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE,
        "recordings cannot be analysed now; the server's log says why",
    )


def analysis_failed(job: Job) -> ServingError:
    return ServingError(
        grpc.StatusCode.INTERNAL, f"{job.name}: the analysis failed; the server's log says why"
    )
