"""Uploaded recordings analysed in processes that can be killed, with the model of the server."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import InvalidStateError
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from affectstream.preprocessing.faces.action_units import OPENFACE
from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_worker import RECOGNIZER_FACTORY, WorkerSettings
from affectstream.server.analysis.upload_slots import UploadSlots, server_stopping_error
from affectstream.server.analysis.worker_process import (
    EventCallback,
    Forward,
    Job,
    WorkerProcess,
    analysis_failed,
    analysis_unavailable,
)
from affectstream.server.errors import ServingError
from affectstream.server.limits import THREAD_STOP_TIMEOUT_S, ServerLimits

if TYPE_CHECKING:
    from affectstream.server.metrics import Metrics

Lease = Callable[[], AbstractContextManager[tuple[dict[str, Any], Forward]]]
"""Gives the configuration, with its `vocabulary`, and the outputs of one version.

The version stays until the block ends.
"""

_KEYS_OF_ANSWERS = (
    "streams",
    "labels",
    "input",
    "preparation",
    "window_s",
    "windows",
    "text_input",
    "synthetic",
    "leak_allowed",
)
MAX_RESIDENT_SHARE = 0.25
"""A worker that holds more than this share of its memory after a job is replaced."""


_log = logging.getLogger(__name__)


class AnalysisPool:
    """Some warm workers, each with one recording at a time.

    Args:
      config: of the model, `assets/config.json`.
      lease: taken for each recording, so that one version answers for all of it.
      weights_dir: where the face detector's weights lie, if not in the cache.
      factory: "module:function" that makes the recognizer in the worker.
    """

    def __init__(
        self,
        config: dict[str, Any],
        lease: Lease,
        weights_dir: Path | None = None,
        limits: ServerLimits | None = None,
        metrics: Metrics | None = None,
        factory: str = RECOGNIZER_FACTORY,
    ) -> None:
        self._limits = limits or ServerLimits()
        self._kind = _kind(config)
        self._refusal = _refusal(config)
        self._lease = lease
        self._metrics = metrics
        self._settings = WorkerSettings(
            config,
            weights_dir,
            self._limits.max_worker_bytes,
            self._limits.max_media_s,
            # Time for the server to kill it first.
            self._limits.max_analysis_s + 10,
            factory,
        )
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: set[Job] = set()
        most = self._limits.num_workers + self._limits.max_waiting_uploads
        self._slots = UploadSlots(most, metrics)
        # Not of a ThreadPoolExecutor, for Python waits at its end for those.
        self._threads = [
            threading.Thread(target=self._work, name=f"analysis-{number}", daemon=True)
            # What it cannot answer needs no worker.
            for number in range(0 if self._refusal else self._limits.num_workers)
        ]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def receive(self) -> Iterator[None]:
        """Holds a slot while an upload arrives; it takes none of `admit`.

        Raises:
          ServingError: all are taken (429), the model takes no recordings (422), or the pool is
            closed (503).
        """
        if self._refusal:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, self._refusal, 422)
        with self._slots.receive():
            yield

    def admit(self) -> AbstractContextManager[None]:
        """Holds a slot while a recording runs or waits; see `UploadSlots.admit`."""
        return self._slots.admit()

    def submit(
        self, file: Path | None, name: str, options: AnalysisOptions, on_event: EventCallback
    ) -> Job:
        """Queues a recording, or the words of the options alone; call it within `admit`.

        Returns:
          the job, whose future is the answer as `predict --json` gives it, or a ServingError:
          refused (400, 413, 422), failed (500), too slow (504), or closed (503).
        Raises:
          ServingError: the pool is closed, or the model takes no recordings.
        """
        if self._refusal:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, self._refusal, 422)
        job = Job(file, name, options, on_event)
        with self._slots.lock:
            self._slots.check_open()
            self._waiting.put(job)
        return job

    def close(self, drain_s: float | None = None) -> None:
        """Refuses what waits, gives what runs some time, then ends the workers.

        Args:
          drain_s: that time; `limits.drain_s` when None. What still runs then is answered with
            UNAVAILABLE, and `THREAD_STOP_TIMEOUT_S` later nothing is waited for any more.
        """
        if not self._slots.close():
            return
        with contextlib.suppress(queue.Empty):
            while (job := self._waiting.get_nowait()) is not None:
                _settle(job.future.set_exception, server_stopping_error())
        for _ in self._threads:
            self._waiting.put(None)
        ends_s = time.monotonic() + (self._limits.drain_s if drain_s is None else drain_s)
        for thread in self._threads:
            thread.join(max(ends_s - time.monotonic(), 0.0))
        with self._slots.lock:
            for job in self._running:
                _settle(job.future.set_exception, server_stopping_error())
                job.cancel()
        # One that waits for the model hears nothing of it; it keeps neither caller nor process.
        ends_s = time.monotonic() + THREAD_STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(ends_s - time.monotonic(), 0.0))

    # === The thread of one worker ===

    def _work(self) -> None:
        """Owns one worker; must outlive it, since a worker dies with its parent thread."""
        worker = self._usable(None)
        while (job := self._waiting.get()) is not None:
            if job.is_cancelled.is_set() or not job.future.set_running_or_notify_cancel():
                job.future.cancel()
                continue
            worker = self._usable(worker)
            self._answer(job, worker)
            worker = self._usable(worker)
        if worker is not None:
            worker.stop()

    def _answer(self, job: Job, worker: WorkerProcess | None) -> None:
        """Runs a job; whatever happens, its future is done afterwards."""
        started_s, status = time.monotonic(), 200
        with self._slots.lock:
            self._running.add(job)
        try:
            _settle(job.future.set_result, self._do(job, worker))
        except Exception as error:
            if not isinstance(error, ServingError):
                _log.exception("analysis of an upload failed")
                error = analysis_failed(job)
            status = error.http_status
            _settle(job.future.set_exception, error)
        with self._slots.lock:
            self._running.discard(job)
        if self._metrics is not None:
            self._metrics.count_analysis(status, time.monotonic() - started_s)

    def _do(self, job: Job, worker: WorkerProcess | None) -> dict[str, Any]:
        if worker is None:
            raise analysis_unavailable()
        with self._lease() as (config, forward):
            if _kind(config) != self._kind:
                raise _exchanged()
            job.vocabulary = config.get("vocabulary", [])
            return worker.run(job, forward, self._limits.max_analysis_s)

    def _usable(self, worker: WorkerProcess | None) -> WorkerProcess | None:
        """The worker, or a new one in its place; None where there can be none now."""
        most = MAX_RESIDENT_SHARE * self._limits.max_worker_bytes
        if worker is not None and worker.is_usable and worker.resident_bytes <= most:
            return worker
        if worker is not None:
            worker.stop()
        try:
            return WorkerProcess(self._settings)
        except Exception:
            _log.exception("no worker for recordings")
            return None


class ModelAnalysisPool:
    """Pool of the served model; replaced when a new version has other inputs or outputs.

    A new version that takes and gives the same keeps the pool and its warm workers. It may be
    called by an event loop, also while another thread closes it: it waits for nothing that
      lasts.

    Args:
      config_of: `assets/config.json` of the newest available version; a ServingError where none is.
      make: a pool for a configuration.
    """

    def __init__(
        self,
        config_of: Callable[[], dict[str, Any]],
        make: Callable[[dict[str, Any]], AnalysisPool],
    ) -> None:
        self._config_of = config_of
        self._make = make
        self._lock = threading.Lock()
        self._kind = _kind(config_of())
        self._pool = make(config_of())
        self._closing: list[threading.Thread] = []
        self._is_closed = False

    def __call__(self) -> AnalysisPool:
        """The pool; once closed, the last one, which refuses everything."""
        config = self._config_of()
        with self._lock:
            if _kind(config) != self._kind and not self._is_closed:
                # What runs in the old one is given its time.
                thread = threading.Thread(
                    target=self._pool.close, name="analysis-closing", daemon=True
                )
                thread.start()
                self._closing = [t for t in self._closing if t.is_alive()] + [thread]
                self._kind, self._pool = _kind(config), self._make(config)
            return self._pool

    def close(self, drain_s: float | None = None) -> None:
        """Closes the pool of now, and waits as long for those of before.

        Args:
          drain_s: what runs has that long; `limits.drain_s` when None.
        """
        with self._lock:  # never while it drains: who asks for the pool waits for this lock
            self._is_closed = True
            pool, closing = self._pool, self._closing
        began_s = time.monotonic()
        pool.close(drain_s)
        for thread in closing:
            left_s = None
            if drain_s is not None:
                left_s = max(began_s + drain_s + THREAD_STOP_TIMEOUT_S - time.monotonic(), 0.0)
            thread.join(left_s)


def _settle(set_answer: Callable[[Any], None], answer: Any) -> None:
    """Answers a job, unless that was done when the pool closed."""
    with contextlib.suppress(InvalidStateError):
        set_answer(answer)


def _kind(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config entries that determine inputs and outputs, apart from the weights."""
    return {name: config.get(name) for name in _KEYS_OF_ANSWERS}


def _refusal(config: Mapping[str, Any]) -> str:
    """Why the model takes no recordings; empty where it does."""
    if config.get("text_input") == "token_ids":  # their tokeniser was left to the client
        return "this model takes numbers of tokens, no recordings; export it without --text-input"
    units = config.get("preparation", {}).get("action_units")
    # Those of MediaPipe are computed here, and beside another stream they are left out.
    if list(config.get("streams", ())) == ["video"] and units and units["source"] == OPENFACE:
        return "this model takes action units of OpenFace, no recordings; send those to :predict"
    return ""


def _exchanged() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE, "another kind of model took its place; send it again"
    )
