"""Starts a process whose crash does not affect this one, and reports why it died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from affectstream.parallel import resource_limits
from affectstream.parallel.tasks import TaskLimits

_SPAWN = multiprocessing.get_context("spawn")
# Time for a process to end after its channel was closed, before it is killed.
EXIT_TIMEOUT_S = 2.0


class ChildProcess:
    """A process with a channel to it; it dies with the thread that started it.

    The channel frames messages; the two sides define their content. Each side gets EOFError or
    OSError as soon as the other one is gone.

    Args:
      main: called in the process with its end of the channel, the limits and `args`; it returns
        when the channel ends.
      limits: limits of a step; `main` marks where steps begin and end.

    Attributes:
      channel: this process's end.

    Raises:
      OSError, RuntimeError: the process cannot be started.
    """

    def __init__(self, main: Callable[..., None], limits: TaskLimits, *args: Any) -> None:
        self._limits = limits
        self.channel, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_main, args=(os.getpid(), main, theirs, limits, *args), daemon=True
        )
        try:
            self._process.start()
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid or 0

    @property
    def is_alive(self) -> bool:
        """False after it ended for any reason."""
        return self._process.is_alive()

    @property
    def resident_bytes(self) -> int:
        """Its private memory; 0 after it ended."""
        try:
            return resource_limits.resident_bytes(self.pid)
        except (OSError, ValueError):
            return 0

    def exit_reason(self) -> str:
        """Why it ended, as text after the name of a file; call it after the channel ended."""
        self._process.join(EXIT_TIMEOUT_S)
        if self._process.exitcode is None:
            self.kill()
        return resource_limits.describe_exit(self._process.exitcode, self._limits)

    @contextlib.contextmanager
    def killed_when(self, is_due: Callable[[], bool]) -> Iterator[None]:
        """Kills the process as soon as the condition holds, even while either side waits.

        Args:
          is_due: called in another thread, every `CHECK_INTERVAL_S`.
        """
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(resource_limits.CHECK_INTERVAL_S):
                if is_due():
                    self.kill()
                    return

        thread = threading.Thread(target=watch, name="child-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()  # so that it cannot kill a later process

    def kill(self) -> None:
        """Kills the process in any state."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Kills the process and closes the channel."""
        self.kill()
        self.channel.close()


def _main(
    parent_id: int, main: Callable[..., None], channel: Connection, limits: TaskLimits, *args: Any
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource_limits.die_with_parent(parent_id)
    resource_limits.enforce_limits(limits)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        main(channel, limits, *args)
