"""Limits the memory that all REST and gRPC requests hold together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc

from affectstream.server.errors import ServingError

if TYPE_CHECKING:
    from affectstream.server.metrics import Metrics

# Largest bodies that may be held at a time.
MAX_HELD_BODIES = 4
# Parsed requests take many times their bytes, and one core reads one at a time.
NUM_PARSERS = 2
# Of an array that holds strings, for each beside its own bytes.
STRING_BYTES = 64


class MemoryQuota:
    """Bytes that all requests together may hold; callable from any thread.

    Args:
      max_bytes: of all.
      metrics: counts what is refused.

    Attributes:
      parse_slots: semaphore that is held from the bytes of a request to its arrays, so that few
        requests lie in memory in the wasteful form between the two.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self.parse_slots = threading.BoundedSemaphore(NUM_PARSERS)
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes held now."""
        return self._num_bytes

    def new_reservation(self) -> QuotaReservation:
        """What one request holds; nothing yet."""
        return QuotaReservation(self)

    def acquire(self, num_bytes: int) -> None:
        """Raises ServingError (RESOURCE_EXHAUSTED) when more than all would be held."""
        with self._lock:
            is_over = self._num_bytes + num_bytes > self._max_bytes
            self._num_bytes += 0 if is_over else num_bytes
        if is_over:
            self._metrics.count_rejection("queue_full")
            text = "too many large requests at a time; try again"
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    def release(self, num_bytes: int) -> None:
        """Frees what was taken."""
        with self._lock:
            self._num_bytes -= num_bytes


class QuotaReservation:
    """The share of one request; `close` gives back what is left of it."""

    def __init__(self, quota: MemoryQuota) -> None:
        self._quota = quota
        self._num_bytes = 0

    def add(self, num_bytes: int) -> None:
        """Takes so many bytes; call it before they are allocated.

        Raises:
          ServingError: RESOURCE_EXHAUSTED; nothing is taken then.
        """
        self._quota.acquire(num_bytes)
        self._num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        """Gives some of them back."""
        self._num_bytes -= num_bytes
        self._quota.release(num_bytes)

    def close(self) -> None:
        """Gives all back."""
        self.release(self._num_bytes)
