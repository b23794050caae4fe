"""A command is started on a copy of its inputs, killed at some moment, and run again.

Three ways to draw the moment, in turn: any time of the whole run; a time after the first file
appeared, for most of a run is the import of TensorFlow; right behind a change of what files there
are (one appeared, was renamed or went), when a folder is most likely to be half of something.
In half of the cases the whole process group is killed, else the program alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from affectstream.core.errors import EXIT_OK
from benchmarks.robustness import same_tree

CLI = Path(__file__).resolve().parents[2] / "cli.py"
POLL_INTERVAL_S = 0.002
# What a killed program's processes may still take to end, and a command at most.
END_S = 10.0
RUN_TIMEOUT_S = 900.0
KILL_MOMENTS = ("any time", "after the first file", "at a change of files")


@dataclass(frozen=True)
class Job:
    """A command on trial.

    Attributes:
      words: as typed, in a folder that holds a copy of `inputs`.
      inputs: folder of what the command reads.
      out: what it writes, below that folder.
      again: the words with which a user goes on, given the folder; None where nothing is left to
        do. The same words where it is left out.
    """

    name: str
    words: tuple[str, ...]
    inputs: Path
    out: str
    again: Callable[[Path, tuple[str, ...]], tuple[str, ...] | None] = lambda _, words: words


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
      kept: what it wrote.
      seconds: that it took.
      first_s: when the first file appeared.
      num_changes: how often what files there are changed.
    """

    kept: Path
    seconds: float
    first_s: float
    num_changes: int


@dataclass(frozen=True)
class Trial:
    """What came of one kill.

    Attributes:
      moment: "start-up", "working" or "after the end".
      defects: what was not as it must be, a line each.
    """

    way: str
    moment: str
    at_s: float
    whole_group: bool
    defects: tuple[str, ...]
    is_equal: bool


@dataclass
class KillTrials:
    """Where the trials of one job take place, always under the same path.

    Attributes:
      home: folder of its own for this job.
    """

    job: Job
    home: Path
    reference: Reference = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.home / "place"
        self.tmp = self.home / "tmp"
        self.reference = self._undisturbed()

    # === Runs ===

    def fresh(self) -> None:
        """A new copy of the inputs, and an empty temporary directory."""
        for folder in (self.place, self.tmp):
            shutil.rmtree(folder, ignore_errors=True)
        self.tmp.mkdir(parents=True)
        shutil.copytree(self.job.inputs, self.place)

    @contextlib.contextmanager
    def started(self, words: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
        """The command as a process group of its own, with its own temporary directory."""
        variables = {**os.environ, "TMPDIR": str(self.tmp), "PYTHONDONTWRITEBYTECODE": "1"}
        with open(self.home / "said", "ab") as said:
            process = subprocess.Popen(
                [sys.executable, str(CLI), *words],
                cwd=self.place,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Runs to the end: exit status, and output."""
        (self.home / "said").write_bytes(b"")
        with self.started(words) as process:
            code = process.wait(RUN_TIMEOUT_S)
        return code, (self.home / "said").read_text("utf-8", errors="replace")

    def _undisturbed(self) -> Reference:
        self.fresh()
        begun_s = time.monotonic()
        watched = Watched(self.place / self.job.out)
        first_s = 0.0
        with self.started(self.job.words) as process:
            while process.poll() is None:
                if watched.changed() and not first_s:
                    first_s = time.monotonic() - begun_s
                time.sleep(POLL_INTERVAL_S)
        seconds = time.monotonic() - begun_s
        if process.returncode != EXIT_OK:
            raise RuntimeError((self.home / "said").read_text("utf-8", errors="replace"))
        kept = self.home / "reference"
        shutil.rmtree(kept, ignore_errors=True)
        (self.place / self.job.out).rename(kept)
        return Reference(kept, seconds, first_s, watched.num_changes)

    # === Trials ===

    def trial(self, rng: np.random.Generator, number: int) -> Trial:
        """One kill, and the run that follows it."""
        self.fresh()
        way, whole_group = (
            KILL_MOMENTS[number % len(KILL_MOMENTS)],
            bool(number // len(KILL_MOMENTS) % 2),
        )
        out = self.place / self.job.out
        begun_s = time.monotonic()
        with self.started(self.job.words) as process:
            self._wait(process, rng, way)
            at_s = time.monotonic() - begun_s
            ended = process.poll() is not None
            moment = "after the end" if ended else "working" if out.exists() else "start-up"
            shared = shared_memory_of(process.pid)
            kill = os.killpg if whole_group else os.kill
            with contextlib.suppress(ProcessLookupError):
                kill(process.pid, signal.SIGKILL)
            process.wait()
            defects = [
                f"still running after the kill: {name}" for name in stray_processes(process.pid)
            ]
        defects += self.partial_files(out)
        told, of_again = self.again()
        defects += [*told, *of_again]
        defects += [f"left in shared memory: {p}" for p in shared if Path(p).exists()]
        return Trial(way, moment, at_s, whole_group, tuple(defects), not told)

    def again(self) -> tuple[list[str], list[str]]:
        """Continues as a user would: differences of the result, and other defects."""
        out, defects = self.place / self.job.out, []
        words = self.job.again(self.place, self.job.words)
        if words is not None:
            code, said = self.run(words)
            if code != EXIT_OK:
                last = said.strip().splitlines()[-1:] or [""]
                defects.append(f"run again ended with {code}: {last[0]}")
        told = same_tree.differences(out, self.reference.kept) if out.exists() else ["no result"]
        told = [line for line in told if not same_tree.is_temporary(line.split(":")[0])]
        defects += [f"left: {name}" for name in same_tree.temporaries(self.place)]
        defects += [f"left in TMPDIR: {path.name}" for path in self.tmp.iterdir()]
        return told, defects

    def _wait(self, process: subprocess.Popen[bytes], rng: np.random.Generator, way: str) -> None:
        reference = self.reference
        watched = Watched(self.place / self.job.out)
        wait_s, least = rng.uniform(0, reference.seconds), 0
        if way == KILL_MOMENTS[1]:
            wait_s, least = rng.uniform(0, reference.seconds - reference.first_s), 1
        elif way == KILL_MOMENTS[2]:
            wait_s, least = 0.0, int(rng.integers(1, reference.num_changes + 1))
        while process.poll() is None and watched.num_changes < least:
            if not watched.changed():
                time.sleep(POLL_INTERVAL_S)
        end_s = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < end_s:
            time.sleep(min(POLL_INTERVAL_S, max(0.0, end_s - time.monotonic())))

    def partial_files(self, out: Path) -> list[str]:
        """Files under their final name that are neither the finished one nor an earlier whole."""
        final = same_tree.files_of(self.reference.kept)
        told = []
        for name, path in same_tree.files_of(out).items() if out.exists() else ():
            if same_tree.is_temporary(name):
                continue
            if name not in final:
                told.append(f"{name}: visible, and of no undisturbed run")
            elif path.read_bytes() != final[name].read_bytes() and (
                why := same_tree.corruption_reason(path)
            ):
                told.append(f"{name}: half a file under its final name ({why})")
        return told


class Watched:
    """Counts changes of the names below a folder, one check per call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: frozenset[tuple[str, str]] = frozenset()
        self.num_changes = 0

    def changed(self) -> bool:
        names = frozenset(
            (place, name)
            for place, folders, files in os.walk(self._folder)
            for name in (*folders, *files)
        )
        changed = names != self._names
        self._names = names
        self.num_changes += changed
        return changed


# === Processes ===


def session(leader: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                state, _, _, owner = (
                    (folder / "stat").read_text("utf-8").rpartition(")")[2].split()[:4]
                )
                if int(owner) == leader and state not in "ZX":
                    found.append(int(folder.name))
    return found


def stray_processes(leader: int) -> list[str]:
    """Command lines of a session's processes that go on although it is over; they are ended."""
    end_s = time.monotonic() + END_S
    while (left := session(leader)) and time.monotonic() < end_s:
        time.sleep(0.05)
    names = []
    for pid in left:
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/{pid}/cmdline").read_text("utf-8").replace("\0", " "))
            os.kill(pid, signal.SIGKILL)
    return names


def shared_memory_of(leader: int) -> set[str]:
    """Named shared memory and semaphores that the processes of a session hold."""
    found = set()
    for pid in session(leader):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines():
                name = line.split(maxsplit=5)[-1]
                if name.startswith("/dev/shm/") and not name.endswith("(deleted)"):
                    found.add(name)
    return found
