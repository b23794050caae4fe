"""Raises Ctrl-C again if Python dropped its KeyboardInterrupt."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

# Long enough for the interrupted callback to end, and too short for a second key press.
RESEND_DELAY_S = 0.05


@contextlib.contextmanager
def reraise_dropped_sigint() -> Iterator[None]:
    """Sends SIGINT again if its KeyboardInterrupt was dropped.

    Python drops exceptions in a `__del__`, or in a callback of the garbage collector or of a weak
    reference (`sys.unraisablehook`), and prints "Exception ignored in". JAX, imported by Keras, has
    such a callback; a command interrupted in it would continue to its end.
    """
    before = sys.unraisablehook
    pending: list[threading.Timer] = []

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        timer = threading.Timer(RESEND_DELAY_S, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        pending.append(timer)
        timer.start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in pending:
            timer.cancel()
