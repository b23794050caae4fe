"""Dynamic batching: merges concurrent requests, with one batcher per loaded version."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import numpy as np

from affectstream.core.errors import pluralize
from affectstream.server.errors import ServingError, invalid
from affectstream.server.limits import MIB, ServerLimits
from affectstream.server.metrics import Metrics
from affectstream.server.versions import arrays
from affectstream.server.versions.arrays import Arrays, RequestSize

if TYPE_CHECKING:
    from affectstream.serving.export.warmup import Signatures

LOG = logging.getLogger(__name__)
# One thread gathers and pads while the other runs.
NUM_THREADS = 2
# Limit of queued bytes, in multiples of the largest batch.
QUEUED_BATCHES = 4


@dataclass(eq=False)
class _Request:
    signature: str
    inputs: Arrays
    size: RequestSize
    num_bytes: int
    arrived_s: float
    due_s: float
    answer: Future[Arrays] = field(default_factory=Future)

    @property
    def num_rows(self) -> int:
        return self.size.num_rows


class Batcher:
    """Merges requests of one signature into batches and returns each request its rows.

    A request waits at most `limits.batch_wait_s` for others. A request too large for a batch is run
    in several batches. A failing batch is halved until the failing request is alone, so that it
    affects no other.

    Args:
      run: maps signature and merged inputs to outputs with as many rows; called from two threads.
      signatures: input specs of each signature.
      limits: rows and bytes of a batch and of the queue, waits.
      metrics: counts batches, waiting rows and refusals.
    """

    def __init__(
        self,
        run: Callable[[str, Arrays], Arrays],
        signatures: Signatures,
        limits: ServerLimits,
        metrics: Metrics,
    ) -> None:
        self._run = run
        self._signatures = signatures
        self._limits = limits
        self._metrics = metrics
        self._queue: list[_Request] = []
        self._queued_rows = 0
        self._queued_bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._gathering = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"batcher-{number}", daemon=True)
            for number in range(NUM_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    # === Queueing ===

    def submit(
        self, signature: str, inputs: Arrays, timeout_s: float | None = None
    ) -> Future[Arrays]:
        """Queues one request.

        Args:
          signature: a signature of the version.
          inputs: with at most `limits.max_queued_rows` rows.
          timeout_s: a request that waited longer is dropped; None uses `limits.request_timeout_s`.
        Returns:
          a future of the outputs, or a ServingError; a cancelled request does not run.
        Raises:
          ServingError: INVALID_ARGUMENT (see `arrays.check_inputs`, and a row or request that is
            too large), RESOURCE_EXHAUSTED if the queue is full, UNAVAILABLE if closed.
        """
        specs = self._signatures.get(signature)
        if specs is None:
            raise unknown_signature(signature)
        num_rows = arrays.check_inputs(specs, inputs)
        size = arrays.request_size(specs, inputs)
        num_bytes = size.cost_bytes(specs)
        self._check_size(num_rows, num_bytes)
        now_s = time.monotonic()
        wait_s = self._limits.request_timeout_s if timeout_s is None else timeout_s
        request = _Request(signature, inputs, size, num_bytes, now_s, now_s + wait_s)
        with self._changed:
            if self._is_closed:
                self._metrics.count_rejection("unavailable")
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "this version is being unloaded")
            self._check_room(request)
            self._queue.append(request)
            self._count(request, 1)
            self._changed.notify_all()
        return request.answer

    def _check_size(self, num_rows: int, num_bytes: int) -> None:
        most = self._limits.max_queued_rows
        if num_rows > most:
            self._metrics.count_rejection("too_large")
            raise invalid(f"{num_rows} rows; at most {most} a request")
        row_mib, most_mib = num_bytes / num_rows / MIB, self._limits.max_batch_bytes / MIB
        if row_mib > most_mib:
            self._metrics.count_rejection("too_large")
            raise invalid(f"a row needs {row_mib:.0f} MiB; at most {most_mib:.0f}, send it shorter")

    def _check_room(self, request: _Request) -> None:
        most = QUEUED_BATCHES * self._limits.max_batch_bytes
        num_rows = self._queued_rows + request.num_rows
        is_full = num_rows > self._limits.max_queued_rows
        if self._queue and (is_full or self._queued_bytes + request.num_bytes > most):
            self._metrics.count_rejection("queue_full")
            verb = "waits" if self._queued_rows == 1 else "wait"
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{pluralize(self._queued_rows, 'row')} {verb} already; send this again later",
            )

    def _count(self, request: _Request, sign: int) -> None:
        self._queued_rows += sign * request.num_rows
        self._queued_bytes += sign * request.num_bytes
        self._metrics.add_queued_rows(sign * request.num_rows)

    def close(self, wait_s: float | None = None) -> None:
        """Rejects new requests, runs the queued ones, ends the threads.

        Args:
          wait_s: how long to wait for that; None waits until the end.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        end_s = None if wait_s is None else time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(None if end_s is None else max(0.0, end_s - time.monotonic()))

    # === Batching ===

    def _work(self) -> None:
        while True:
            with self._gathering:
                batch = self._gather()
            if batch is None:
                return
            if batch:
                self._answer(batch)

    def _gather(self) -> list[_Request] | None:
        """The next batch, possibly empty; None if closed and nothing is queued."""
        with self._changed:
            while not self._queue and not self._is_closed:
                self._changed.wait()
            if not self._queue:
                return None
            first = self._queue[0]
            end_s = first.arrived_s + self._limits.batch_wait_s
            while True:
                self._drop_overdue()
                batch, is_full = self._fitting()
                left_s = end_s - time.monotonic()
                if is_full or self._is_closed or left_s <= 0 or not batch:
                    break
                self._changed.wait(left_s)
            self._queue = [request for request in self._queue if request not in batch]
            for request in batch:
                self._count(request, -1)
        return [request for request in batch if request.answer.set_running_or_notify_cancel()]

    def _drop_overdue(self) -> None:
        now_s = time.monotonic()
        kept = []
        for request in self._queue:
            if request.due_s > now_s and not request.answer.cancelled():
                kept.append(request)
                continue
            self._count(request, -1)
            if request.answer.set_running_or_notify_cancel():
                self._metrics.count_rejection("deadline")
                request.answer.set_exception(deadline_error())
        self._queue = kept

    def _fitting(self) -> tuple[list[_Request], bool]:
        """Queued requests that fit into a batch with the first, and whether it is full."""
        if not self._queue:
            return [], False
        batch = [self._queue[0]]
        if self._is_large(batch):
            return batch, True
        specs, size = self._signatures[batch[0].signature], batch[0].size
        for request in self._queue[1:]:
            if request.signature != batch[0].signature:
                continue
            together = size.merge(request.size)
            if (
                together.num_rows > self._limits.max_batch_rows
                or together.cost_bytes(specs) > self._limits.max_batch_bytes
            ):
                return batch, True
            batch.append(request)
            size = together
        return batch, size.num_rows == self._limits.max_batch_rows

    def _is_large(self, batch: Sequence[_Request]) -> bool:
        limits, first = self._limits, batch[0]
        too_large = (
            first.num_rows > limits.max_batch_rows or first.num_bytes > limits.max_batch_bytes
        )
        return len(batch) == 1 and too_large

    # === Running ===

    def _answer(self, batch: list[_Request]) -> None:
        """Runs a batch; if it fails, runs its halves."""
        requests = [request.inputs for request in batch]
        try:
            if self._is_large(batch):
                outputs = self._in_pieces(batch[0])
            else:
                outputs = self._run_rows(batch[0].signature, requests)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(_as_serving_error(error))
                return
            half = len(batch) // 2
            self._answer(batch[:half])
            self._answer(batch[half:])
            return
        row = 0
        for request in batch:
            rows = slice(row, row + request.num_rows)
            request.answer.set_result({name: value[rows] for name, value in outputs.items()})
            row += request.num_rows

    def _in_pieces(self, request: _Request) -> Arrays:
        """Outputs of a request that is larger than a batch."""
        a_row = request.num_bytes / request.num_rows
        most = max(1, min(self._limits.max_batch_rows, int(self._limits.max_batch_bytes / a_row)))
        outputs: list[Arrays] = []
        for number, piece in enumerate(arrays.split_rows(request.inputs, most)):
            try:
                outputs.append(self._run_rows(request.signature, [piece]))
            except ServingError as error:
                where = f"in the rows from {number * most} on, counted from there"
                raise ServingError(error.code, f"{where}: {error.message}") from error
        return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}

    def _run_rows(self, signature: str, requests: Sequence[Arrays]) -> Arrays:
        merged = arrays.merge_requests(self._signatures[signature], requests)
        num_rows = arrays.num_rows_of(merged)
        started_s = time.perf_counter()
        outputs = self._run(signature, merged)
        self._metrics.count_batch(signature, num_rows, time.perf_counter() - started_s)
        for name, value in outputs.items():
            if value.ndim == 0 or len(value) != num_rows:
                raise ServingError(
                    grpc.StatusCode.INTERNAL,
                    f"output {name} of {signature} has not one row for each of the inputs",
                )
        return outputs


def unknown_signature(signature: str) -> ServingError:
    """Error text of tensorflow/serving, model_servers/http_rest_api_handler.cc."""
    return invalid(f'Serving signature name: "{signature[:64]}" not found in signature def')


def deadline_error() -> ServingError:
    """The request waited too long."""
    return ServingError(
        grpc.StatusCode.DEADLINE_EXCEEDED, "not answered in time; send this again later"
    )


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    LOG.error("a batch failed", exc_info=error)
    return ServingError(
        grpc.StatusCode.INTERNAL, f"the model failed on this request ({type(error).__name__})"
    )
