"""Slots for uploads: separate ones for receiving and for running or waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

from affectstream.core.errors import pluralize
from affectstream.server.errors import ServingError

if TYPE_CHECKING:
    from affectstream.server.metrics import Metrics

MAX_RECEIVING = 8
"""Uploads received at a time; each may fill `ServerLimits.max_upload_bytes` of the disk."""


class UploadSlots:
    """Limits the number of uploads; slow uploads do not block the analysis of others.

    Args:
      most: number of uploads that may run or wait at the same time.
      metrics: counts rejections.

    Attributes:
      lock: held while a job is handed over, so that none arrives after `close`.
    """

    def __init__(self, most: int, metrics: Metrics | None) -> None:
        self.lock = threading.RLock()
        self._most = most
        self._metrics = metrics
        self._num_received = self._num_admitted = 0
        self._is_closed = False

    @contextlib.contextmanager
    def receive(self) -> Iterator[None]:
        """Holds a slot while an upload arrives.

        Raises:
          ServingError: all slots are taken, or none would be free to run or wait afterwards (429),
            or the server is stopping (503).
        """
        with self.lock:
            self.check_open()
            if self._num_admitted >= self._most:
                raise self._full(self._most)
            if self._num_received >= MAX_RECEIVING:
                raise self._full(MAX_RECEIVING)
            self._num_received += 1
        try:
            yield
        finally:
            with self.lock:
                self._num_received -= 1

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Holds a slot while a recording runs or waits.

        Raises:
          ServingError: all slots are taken (429), or the server is stopping (503).
        """
        with self.lock:
            self.check_open()
            if self._num_admitted >= self._most:
                raise self._full(self._most)
            self._num_admitted += 1
        try:
            yield
        finally:
            with self.lock:
                self._num_admitted -= 1

    def check_open(self) -> None:
        """Raises a ServingError (503) after `close`."""
        if self._is_closed:
            self._reject("unavailable")
            raise server_stopping_error()

    def close(self) -> bool:
        """Closes all slots; returns False if they were closed before."""
        with self.lock:
            was_closed, self._is_closed = self._is_closed, True
        return not was_closed

    def _full(self, most: int) -> ServingError:
        self._reject("queue_full")
        verb = "is" if most == 1 else "are"
        message = f"{pluralize(most, 'recording')} {verb} under way already; come again later"
        return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)

    def _reject(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.count_rejection(reason)


def server_stopping_error() -> ServingError:
    """The server is stopping and will not respond."""
    return ServingError(grpc.StatusCode.UNAVAILABLE, "the server is stopping; come again later")
