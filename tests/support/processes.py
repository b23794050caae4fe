"""Children that a test starts and interrupts."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def sigint_handler(action: signal.Handlers) -> Iterator[None]:
    """Children started inside begin with SIGINT ignored (SIG_IGN) or not (SIG_DFL).

    Without it they begin as the tests did, and a shell starts what it runs in the background (`&`,
    `nohup`) with SIGINT ignored.
    """
    before = signal.signal(signal.SIGINT, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
