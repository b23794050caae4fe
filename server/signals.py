"""Handles SIGINT and SIGTERM for the server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from affectstream.core import progress

POLL_S = 0.1


@contextlib.contextmanager
def wait_for_shutdown() -> Iterator[Callable[[], None]]:
    """Yields a function that blocks until SIGINT or SIGTERM, even one before the call.

    The first signal is only recorded, so that the server can shut down; a second one ends the
    process at once, with exit code 130 (SIGINT) or 143 (SIGTERM).
    """
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)

    def wait() -> None:
        while not received:
            time.sleep(POLL_S)

    before = {one: signal.signal(one, on_signal) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wait
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def exit_within(seconds: float) -> Iterator[None]:
    """Ends the process with exit code 0 if the block takes longer than `seconds`.

    The sender of SIGTERM kills the process soon afterwards (Kubernetes:
    terminationGracePeriodSeconds), and a hanging model, disk or library cannot be interrupted.
    """
    timer = threading.Timer(seconds, _give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up() -> None:
    progress.print_message("ended; what still ran was given up")
    sys.stderr.flush()
    os._exit(0)
