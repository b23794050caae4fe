"""A thread pool for the blocking work of coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from affectstream.server.errors import ServingError

if TYPE_CHECKING:
    from affectstream.server.metrics import Metrics

Result = TypeVar("Result")

# This many requests can wait for their batches; the same number can queue, further ones are
# refused.
NUM_THREADS = 64
# Threads for status requests, which are quick and must not wait behind predictions.
NUM_STATUS_THREADS = 4


def _nothing() -> None:
    pass


class ThreadPool:
    """A bounded thread pool with a bounded queue.

    Its threads do not keep the process alive, so work that outlasts the server is abandoned. Python
    would wait for the threads of `concurrent.futures.ThreadPoolExecutor` at exit.

    Args:
      name: name of the threads.
      metrics: counts rejections.
      num_threads: maximum number of threads.

    Attributes:
      max_requests: requests that run or queue.
    """

    def __init__(self, name: str, metrics: Metrics, num_threads: int = NUM_THREADS) -> None:
        self.num_threads = num_threads
        self.max_requests = 2 * NUM_THREADS
        self._name = name
        self._metrics = metrics
        self._waiting: queue.SimpleQueue[tuple[Any, Future[Any], Callable[[], None]] | None]
        self._waiting = queue.SimpleQueue()
        self._num_started = 0
        self._is_given_up = False
        self._answers: set[Future[Any]] = set()
        self._changed = threading.Condition()

    async def run(
        self, work: Callable[[], Result], on_end: Callable[[], None] = _nothing
    ) -> Result:
        """The result of `work`, which runs in a thread.

        Args:
          on_end: called once when the work has ended, also after a cancellation, or at once if the
            work is refused.
        Raises:
          ServingError: RESOURCE_EXHAUSTED if the queue is full, UNAVAILABLE after `give_up`.
        """
        try:
            answer = self._submitted(work, on_end)
        except ServingError:
            on_end()
            raise
        del work
        result: Result = await asyncio.wrap_future(answer)
        return result

    def _submitted(self, work: Callable[[], Any], on_end: Callable[[], None]) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._changed:
            if self._is_given_up:
                raise _stopping()
            is_full = len(self._answers) >= self.max_requests
            if not is_full:
                self._answers.add(answer)
                self._waiting.put((work, answer, on_end))
                if self._num_started < min(self.num_threads, len(self._answers)):
                    self._num_started += 1
                    name = f"{self._name}-{self._num_started}"
                    threading.Thread(target=self._work, name=name, daemon=True).start()
        if is_full:
            self._metrics.count_rejection("queue_full")
            text = "too many requests at a time; try again"
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return answer

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            work, answer, on_end = one
            settle = _nothing if answer.done() else _settled(answer, work)  # the client has gone
            del one, work  # the reference keeps the request in memory
            on_end()
            with contextlib.suppress(InvalidStateError):  # cancelled or abandoned
                settle()
            with self._changed:
                self._answers.discard(answer)
                self._changed.notify_all()
            del answer, on_end, settle

    def wait_idle(self, end_s: float) -> bool:
        """Waits until nothing runs or queues, at most until `end_s` on the monotonic clock."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._answers, max(0.0, end_s - time.monotonic())
            )

    def give_up(self) -> None:
        """Answers all running and queued work with UNAVAILABLE, and ends the threads."""
        with self._changed:
            self._is_given_up = True
            unanswered = list(self._answers)
            for _ in range(self._num_started):
                self._waiting.put(None)
            self._num_started = 0
        for answer in unanswered:
            with contextlib.suppress(InvalidStateError):
                answer.set_exception(_stopping())


def _settled(answer: Future[Any], work: Callable[[], Any]) -> Callable[[], None]:
    """Runs the work; returns a function that stores its result or error in the future."""
    try:
        return functools.partial(answer.set_result, work())
    except Exception as error:
        return functools.partial(answer.set_exception, error)


def _stopping() -> ServingError:
    text = "the server is stopping; send this again later"
    return ServingError(grpc.StatusCode.UNAVAILABLE, text)
