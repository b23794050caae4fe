"""A command with all processes that it starts: time, processor time, and the memory of each."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
EVERY_S = 0.1
_KIB = 1024


@dataclass(frozen=True)
class CommandUsage:
    """One command that ended well.

    Attributes:
      wall_s: from its start to its end.
      cpu_s: of the program and of all that it started, as long as they were its children.
      program_mib: the most memory that the program itself held.
      worker_mib: the most that one of the others held.
      stderr: what it said there.
    """

    wall_s: float
    cpu_s: float
    program_mib: float
    worker_mib: float
    stderr: str = ""


def run(
    words: Sequence[str],
    meanwhile: Callable[[], None] = lambda: None,
    accepted: Sequence[int] = (0,),
) -> CommandUsage:
    """Runs a Python program from the project root, and samples its processes while it runs.

    Memory is the high-water mark that Linux keeps of a process, so nothing is missed between two
    looks but what a process does in its last tenth of a second.

    Args:
      words: the command after the interpreter.
      meanwhile: called at each look.
      accepted: exit codes that are no failure.
    Raises:
      RuntimeError: it failed; with the end of what it said.
    """
    cpu_s: dict[int, float] = {}
    peak_kib: dict[int, int] = {}
    with tempfile.TemporaryFile() as said:
        began_s = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                for one in _family(watched):
                    _look(one, cpu_s, peak_kib)
                meanwhile()
                time.sleep(EVERY_S)
        wall_s = time.perf_counter() - began_s
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if process.returncode not in accepted:
        raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}\n{text[-2000:]}")
    others = [kib for pid, kib in peak_kib.items() if pid != process.pid]
    program = peak_kib.get(process.pid, 0)
    total_s = sum(cpu_s.values())
    return CommandUsage(wall_s, total_s, program / _KIB, max(others, default=0) / _KIB, text)


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        yield process
        yield from process.children(recursive=True)


def _look(one: psutil.Process, cpu_s: dict[int, float], peak_kib: dict[int, int]) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        times = one.cpu_times()
        cpu_s[one.pid] = times.user + times.system
        for line in Path(f"/proc/{one.pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                peak_kib[one.pid] = max(int(line.split()[1]), peak_kib.get(one.pid, 0))


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process, and all that it starts within, on so many cores.

    Raises:
      SystemExit: there are fewer.
    """
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise SystemExit(f"{count} cores are needed, this process may use {len(before)}")
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
