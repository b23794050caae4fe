"""Ends this process if a step exceeds its time or memory, or if its parent is gone."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import math
import os
import resource
import signal
import threading
import time
from pathlib import Path

from affectstream.parallel.tasks import TaskLimits

# Exit codes that give the reason to the parent; `faulthandler` exits with 1.
EXIT_TIME_LIMIT = 1
EXIT_MEMORY_LIMIT = 86
CHECK_INTERVAL_S = 0.1
GRACE_S = 1.0
_PR_SET_PDEATHSIG = 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Deadline of the current step; None between tasks and before the first step.
_step_ends_s: float | None = None


def die_with_parent(parent_id: int) -> None:
    """Asks Linux to kill this process when its parent ends for any reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_id:  # the parent ended before that
        os._exit(1)


def enforce_limits(limits: TaskLimits) -> None:
    """Starts a thread that ends this process when it exceeds its limits."""
    threading.Thread(target=_watch, args=(limits,), daemon=True).start()


def _watch(limits: TaskLimits) -> None:
    while True:
        ends_s = _step_ends_s
        # Limits apply only within a step: between steps no recording is the cause.
        if ends_s is not None and time.monotonic() > ends_s:
            os._exit(EXIT_TIME_LIMIT)
        if ends_s is not None and resident_bytes() > limits.memory_bytes:
            os._exit(EXIT_MEMORY_LIMIT)
        time.sleep(CHECK_INTERVAL_S)


def set_resource_limits(max_bytes: int, max_file_bytes: int, max_open_files: int) -> None:
    """Sets permanent system limits for this process; a larger allocation raises MemoryError.

    RLIMIT_DATA counts allocations; RLIMIT_AS would also count what libraries only map.
    """
    bounds = {
        resource.RLIMIT_DATA: max_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: max_file_bytes,
        resource.RLIMIT_NOFILE: max_open_files,
    }
    for kind, bound in bounds.items():
        most = resource.getrlimit(kind)[1]
        value = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (value, value))


def resident_bytes(process: int | str = "self") -> int:
    """Resident memory of a process without shared memory."""
    _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text("ascii").split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


def begin_step(limits: TaskLimits) -> None:
    """Starts the time limit of the next step.

    A call that holds the interpreter lock blocks `enforce_limits`; then a C thread ends the
    process.
    """
    global _step_ends_s
    _step_ends_s = time.monotonic() + limits.step_timeout_s
    if math.isfinite(limits.step_timeout_s):
        faulthandler.dump_traceback_later(
            limits.step_timeout_s + GRACE_S, exit=True, file=_nowhere()
        )


def end_step() -> None:
    """Stops the time limit of the current step."""
    global _step_ends_s
    _step_ends_s = None
    faulthandler.cancel_dump_traceback_later()


def describe_exit(exit_code: int | None, limits: TaskLimits) -> str:
    """Why a process ended, as text after the name of a file."""
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
