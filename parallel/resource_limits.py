"""Ends this process when a step takes too long or too much memory, or when its parent is gone."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from affectstream.parallel.tasks import TaskLimits

# Exit codes that tell the parent why a process ended; `faulthandler` ends it with 1.
EXIT_TIME_LIMIT = 1
EXIT_MEMORY_LIMIT = 86
CHECK_INTERVAL_S = 0.1
GRACE_S = 1.0
_PR_SET_PDEATHSIG = 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# When the step of this process must have ended; empty between tasks and before the first step.
_step_ends_s: list[float] = []


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends for any reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def enforce_limits(
    limits: TaskLimits, report_exit_reason: Callable[[str], None] = lambda _: None
) -> None:
    """Starts a thread that ends this process when it exceeds its limits.

    Args:
      last_words: told why, where an exit code reaches nobody.
    """
    threading.Thread(target=_watch, args=(limits, report_exit_reason), daemon=True).start()


def _watch(limits: TaskLimits, report_exit_reason: Callable[[str], None]) -> None:
    while True:
        ends = list(_step_ends_s)
        late = bool(ends) and time.monotonic() > ends[0]
        # Limits hold within a step only: between steps no recording is to blame.
        if late or (ends and resident_bytes() > limits.memory_bytes):
            code = EXIT_TIME_LIMIT if late else EXIT_MEMORY_LIMIT
            try:
                report_exit_reason(describe_exit(code, limits))
            finally:
                os._exit(code)
        time.sleep(CHECK_INTERVAL_S)


def resident_bytes(process: int | str = "self") -> int:
    """Resident memory of a process, without memory that it shares with others."""
    _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text("ascii").split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


def begin_step(limits: TaskLimits) -> None:
    """Starts the time limit of the next step.

    What holds the interpreter keeps `enforce_limits` from looking; a thread of C then ends the
    process.
    """
    _step_ends_s[:] = [time.monotonic() + limits.step_timeout_s]
    if math.isfinite(limits.step_timeout_s):
        faulthandler.dump_traceback_later(
            limits.step_timeout_s + GRACE_S, exit=True, file=_nowhere()
        )


def end_step() -> None:
    """Stops the time limit of the current step."""
    _step_ends_s.clear()
    faulthandler.cancel_dump_traceback_later()


def describe_exit(exit_code: int | None, limits: TaskLimits) -> str:
    """Why a process ended, to stand behind the name of a file."""
    if exit_code == EXIT_TIME_LIMIT and math.isfinite(limits.step_timeout_s):
        return f"took longer than {limits.step_timeout_s:g} s"
    if exit_code == EXIT_MEMORY_LIMIT:
        return f"needs more than {limits.memory_bytes / 2**30:.2g} GiB of memory"
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        more = ", perhaps for want of memory" if exit_code == -signal.SIGKILL else ""
        return f"ended its process by {name}{more}"
    return f"ended its process with code {exit_code}"


@functools.cache
def _nowhere() -> int:
    """Descriptor of the null device, opened once; faulthandler writes to it from a C thread."""
    return os.open(os.devnull, os.O_WRONLY)
