"""Limits the total memory of all REST and gRPC requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc

from affectstream.server.errors import ServingError

if TYPE_CHECKING:
    from affectstream.server.metrics import Metrics

# Number of largest bodies that may be held at the same time.
MAX_HELD_BODIES = 4
# Parsed requests take many times their bytes, and one core parses one at a time.
NUM_PARSERS = 2
# Memory per string in an array, in addition to its bytes.
STRING_BYTES = 64


class MemoryQuota:
    """Bytes that all requests together may hold; thread-safe.

    Args:
      max_bytes: total limit.
      metrics: counts rejections.

    Attributes:
      parse_slots: semaphore held from the bytes of a request to its arrays, so that few requests
        are in the larger intermediate form at the same time.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self.parse_slots = threading.BoundedSemaphore(NUM_PARSERS)
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes currently held."""
        return self._num_bytes

    def new_reservation(self) -> QuotaReservation:
        """Returns the empty reservation of one request."""
        return QuotaReservation(self)

    def acquire(self, num_bytes: int) -> None:
        """Raises ServingError (RESOURCE_EXHAUSTED) above the total limit."""
        with self._lock:
            is_over = self._num_bytes + num_bytes > self._max_bytes
            self._num_bytes += 0 if is_over else num_bytes
        if is_over:
            self._metrics.count_rejection("queue_full")
            text = "too many large requests at a time; try again"
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    def release(self, num_bytes: int) -> None:
        """Frees acquired bytes."""
        with self._lock:
            self._num_bytes -= num_bytes


class QuotaReservation:
    """The share of one request; `close` frees the rest of it."""

    def __init__(self, quota: MemoryQuota) -> None:
        self._quota = quota
        self._num_bytes = 0

    def add(self, num_bytes: int) -> None:
        """Reserves bytes; call it before they are allocated.

        Raises:
          ServingError: RESOURCE_EXHAUSTED; then nothing is reserved.
        """
        self._quota.acquire(num_bytes)
        self._num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        """Frees some of the bytes."""
        self._num_bytes -= num_bytes
        self._quota.release(num_bytes)

    def close(self) -> None:
        """Frees all bytes."""
        self.release(self._num_bytes)
