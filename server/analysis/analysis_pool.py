"""Analyses uploaded recordings in killable processes, with the server's model."""

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
    """A pool of warm workers, each with one recording at a time.

    Args:
      config: config of the model, `assets/config.json`.
      lease: called for each recording, so that one version predicts all of it.
      weights_dir: folder of the face detector's weights; None uses the cache.
      factory: "module:function" that creates the recognizer in the worker.
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
            # Extra time, so that the server can kill it first.
            self._limits.max_analysis_s + 10,
            factory,
        )
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: set[Job] = set()
        most = self._limits.num_workers + self._limits.max_waiting_uploads
        self._slots = UploadSlots(most, metrics)
        # Not a ThreadPoolExecutor, because Python waits for its threads at exit.
        self._threads = [
            threading.Thread(target=self._work, name=f"analysis-{number}", daemon=True)
            # Inputs that the model cannot use need no worker.
            for number in range(0 if self._refusal else self._limits.num_workers)
        ]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def receive(self) -> Iterator[None]:
        """Holds a slot while an upload arrives, separate from the slots of `admit`.

        Raises:
          ServingError: all slots are taken (429), the model accepts no recordings (422), or the
            pool is closed (503).
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
        """Queues a recording, or the text in the options alone; call it within `admit`.

        Returns:
          the job, whose future is the prediction in the format of `predict --json`, or a
          ServingError: refused (400, 413, 422), failed (500), too slow (504), or closed (503).
        Raises:
          ServingError: the pool is closed, or the model accepts no recordings.
        """
        if self._refusal:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, self._refusal, 422)
        job = Job(file, name, options, on_event)
        with self._slots.lock:
            self._slots.check_open()
            self._waiting.put(job)
        return job

    def close(self, drain_s: float | None = None) -> None:
        """Refuses waiting jobs, gives running jobs some time, then ends the workers.

        Args:
          drain_s: that time; None uses `limits.drain_s`. Jobs that still run then are answered with
            UNAVAILABLE; `THREAD_STOP_TIMEOUT_S` later, waiting ends.
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
        # A thread that waits for the model is not interrupted; it blocks neither caller nor
        # process.
        ends_s = time.monotonic() + THREAD_STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(ends_s - time.monotonic(), 0.0))

    # === The thread of one worker ===

    def _work(self) -> None:
        """Owns one worker; must outlive it, because a worker dies with its parent thread."""
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
        """Runs a job; its future is always done afterwards."""
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
        """The worker, or a new one if it is not usable; None if none can be started."""
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

    A new version with the same inputs and outputs keeps the pool and its warm workers. An event
    loop may call it, also while another thread closes it, because it never blocks for long.

    Args:
      config_of: returns `assets/config.json` of the newest available version; raises a ServingError
        if there is none.
      make: creates a pool for a config.
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
        """Returns the pool; after `close`, the last pool, which refuses everything."""
        config = self._config_of()
        with self._lock:
            if _kind(config) != self._kind and not self._is_closed:
                # Running jobs of the old pool may finish.
                thread = threading.Thread(
                    target=self._pool.close, name="analysis-closing", daemon=True
                )
                thread.start()
                self._closing = [t for t in self._closing if t.is_alive()] + [thread]
                self._kind, self._pool = _kind(config), self._make(config)
            return self._pool

    def close(self, drain_s: float | None = None) -> None:
        """Closes the current pool, and waits equally long for earlier ones.

        Args:
          drain_s: time for running jobs; None uses `limits.drain_s`.
        """
        with self._lock:  # not while the pool drains: callers of `__call__` wait for this lock
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
    """Completes a job unless it was completed when the pool closed."""
    with contextlib.suppress(InvalidStateError):
        set_answer(answer)


def _kind(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config entries that determine inputs and outputs, apart from the weights."""
    return {name: config.get(name) for name in _KEYS_OF_ANSWERS}


def _refusal(config: Mapping[str, Any]) -> str:
    """Reason why the model accepts no recordings; "" if it does."""
    if config.get("text_input") == "token_ids":  # their tokeniser is left to the client
        return "this model takes numbers of tokens, no recordings; export it without --text-input"
    units = config.get("preparation", {}).get("action_units")
    # MediaPipe's are computed here; as one of several streams, they are skipped.
    if list(config.get("streams", ())) == ["video"] and units and units["source"] == OPENFACE:
        return "this model takes action units of OpenFace, no recordings; send those to :predict"
    return ""


def _exchanged() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE, "another kind of model took its place; send it again"
    )
