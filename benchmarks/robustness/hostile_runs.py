"""Runs the program on hostile files, observes it from outside, reports the outcome of each file."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL
from affectstream.parallel.tasks import TaskLimits

ROOT = Path(__file__).resolve().parents[2]
READ, REJECTED = "read", "rejected"
KILLED, OVER_TIME_LIMIT, OVER_MEMORY_LIMIT = "killed its worker", "over time", "over memory"
DIED, UNNAMED = "program died", "neither read nor named"
OUTCOMES = (READ, REJECTED, KILLED, OVER_TIME_LIMIT, OVER_MEMORY_LIMIT, DIED, UNNAMED)
FINDINGS = (KILLED, OVER_TIME_LIMIT, OVER_MEMORY_LIMIT, DIED, UNNAMED)
_LOOK_EVERY_S = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes:
      way: one of `OUTCOMES`.
      shape: what tells it from other outcomes: the message without names and numbers, or roughly
        how much was read.
      lines: of the program's own code that it ran, "file:line", where that is watched.
    """

    name: str
    way: str
    shape: str
    lines: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FinishedCommand:
    """One command that came to its end.

    Attributes:
      program_bytes, worker_bytes: the most memory of the program itself and of any process of its.
      left: processes of its that outlived it.
    """

    code: int
    out: str
    err: str
    wall_s: float
    program_bytes: int
    worker_bytes: int
    left: int

    @property
    def is_well(self) -> bool:
        """Whether it ended with a documented exit status and left no process behind."""
        codes = (EXIT_OK, EXIT_FAILURE, EXIT_PARTIAL)
        return self.code in codes and "Traceback" not in self.err and not self.left


@dataclass(frozen=True)
class Batch:
    """One command over some files: the outcome of each, and of the command as a whole."""

    outcomes: tuple[FileOutcome, ...]
    ran: FinishedCommand


# === Watching ===


def watched(words: Sequence[str], timeout_s: float) -> FinishedCommand:
    """Runs `python cli.py WORDS` to its end, or until it is killed for taking too long."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began_s = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        most = {True: 0, False: 0}
        while process.poll() is None:
            for number, memory in _memory_of(process.pid).items():
                most[number == process.pid] = max(most[number == process.pid], memory)
            if time.monotonic() - began_s > timeout_s:
                process.kill()
            time.sleep(_LOOK_EVERY_S)
        wall_s = time.monotonic() - began_s
        left = _left_of(process.pid)
        out.seek(0)
        err.seek(0)
        told = out.read(), err.read()
        return FinishedCommand(process.returncode, *told, wall_s, most[True], most[False], left)


def _memory_of(session: int) -> dict[int, int]:
    """Private memory in bytes of each process of a session."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.getsid(int(folder.name)) == session:
                    _, resident, shared, *_ = (folder / "statm").read_text("ascii").split()
                    found[int(folder.name)] = (int(resident) - int(shared)) * _PAGE_BYTES
            except (OSError, ValueError):
                continue  # it ended meanwhile
    return found


def _left_of(session: int, patience_s: float = 2.0) -> int:
    ends_s = time.monotonic() + patience_s
    while (left := len(_memory_of(session))) and time.monotonic() < ends_s:
        time.sleep(_LOOK_EVERY_S)
    return left


# === preprocess ===


def preprocess(folder: Path, names: Sequence[str], limits: TaskLimits, *words: str) -> Batch:
    """One `preprocess` over some files of a folder."""
    table, out = folder / "list.csv", folder / "out"
    rows = [
        f"{name},{'sad' if number % 2 else 'happy'},s{number}" for number, name in enumerate(names)
    ]
    table.write_text("\n".join(["path,label,speaker", *rows]) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    fixed = ["preprocess", "--corpus", "manifest", "--source", str(table), "--out", str(out)]
    ran = watched([*fixed, *_told(limits), *words], _patience_s(names, limits))
    made = [p for p in out.rglob("*") if TEMPORARY_MARK in p.name]
    if not ran.is_well or made:
        return Batch(tuple(FileOutcome(name, DIED, _end_of(ran)) for name in names), ran)
    rejected = {row["path"]: row["reason"] for row in _rows(out / "rejected.csv")}
    read: dict[str, list[dict[str, str]]] = {}
    for row in _rows(out / "clips.csv"):
        read.setdefault(row["path"], []).append(row)
    return Batch(tuple(_outcome(name, read.get(name), rejected.get(name)) for name in names), ran)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _outcome(name: str, read: list[dict[str, str]] | None, reason: str | None) -> FileOutcome:
    if (read is None) == (reason is None):
        return FileOutcome(name, UNNAMED, "both" if read else "neither")
    if reason is not None:
        return FileOutcome(name, classify_rejection(reason), message_template(name, reason))
    assert read is not None
    counts = [
        sum(int(row[key]) for row in read) for key in ("num_samples", "num_frames", "num_faces")
    ]
    rough = [round(math.log2(count + 1) / 2) for count in (*counts, len(read))]
    return FileOutcome(name, READ, f"read {rough}")


def classify_rejection(reason: str) -> str:
    """Which of `OUTCOMES` a line that names a file means."""
    if "took longer than" in reason:
        return OVER_TIME_LIMIT
    if "GiB of memory" in reason:
        return OVER_MEMORY_LIMIT
    return KILLED if "ended its process" in reason else REJECTED


def message_template(name: str, reason: str) -> str:
    """A message without the name of the file and without numbers."""
    bare = reason.replace(name, "").replace(Path(name).stem, "")
    return re.sub(r"[-+]?\d[\d.e+-]*", "N", bare)[:160]


def _told(limits: TaskLimits) -> list[str]:
    return [
        "--timeout-s",
        f"{limits.step_timeout_s:g}",
        "--memory-limit-gb",
        f"{limits.memory_bytes / 2**30:g}",
    ]


def _patience_s(names: Sequence[str], limits: TaskLimits) -> float:
    return 120 + 3 * limits.step_timeout_s * math.sqrt(len(names)) + len(names)


def _end_of(ran: FinishedCommand) -> str:
    last = (ran.err.strip().splitlines() or [""])[-1]
    return re.sub(r"\d+", "N", f"exit {ran.code}: {last}")[:160]


# === predict ===


def predict(folder: Path, names: Sequence[str], limits: TaskLimits, *words: str) -> Batch:
    """One `predict` over some files of a folder."""
    files = [str(folder / name) for name in names]
    fixed = ["predict", *files, "--json", *_told(limits)]
    ran = watched([*fixed, *words], _patience_s(names, limits))
    if not ran.is_well:
        return Batch(tuple(FileOutcome(name, DIED, _end_of(ran)) for name in names), ran)
    told: dict[str, list[dict[str, object]]] = {}
    for line in ran.out.splitlines():
        answer = json.loads(line, parse_constant=_no_number)
        told.setdefault(Path(str(answer["path"])).name, []).append(answer)
    return Batch(tuple(_answered(folder, name, told.get(name, [])) for name in names), ran)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} in an answer")


def _answered(folder: Path, name: str, answers: list[dict[str, object]]) -> FileOutcome:
    if len(answers) != 1:
        return FileOutcome(name, UNNAMED, f"{len(answers)} answers")
    (answer,) = answers
    if "error" in answer:
        reason = str(answer["error"]).replace(f"{folder}/", "")
        return FileOutcome(name, classify_rejection(reason), message_template(name, reason))
    streams, windows = answer["streams"], answer["windows"]
    assert isinstance(streams, dict)
    assert isinstance(windows, list)
    rough = round(math.log2(len(windows) + 1))
    warned = re.sub(r"[\d.]+", "N", str(answer["warnings"]))
    return FileOutcome(name, READ, f"{'+'.join(streams)} {rough} {warned}"[:160])


# === Culprits ===

Run = Callable[[Sequence[str]], Batch]


def each(run: Run, names: Sequence[str]) -> Batch:
    """As `run` over all files; where the program dies, over halves, down to the file to blame."""
    batch = run(names)
    if len(names) == 1 or not any(o.way in (DIED, UNNAMED) for o in batch.outcomes):
        return batch
    middle = len(names) // 2
    one, two = each(run, names[:middle]), each(run, names[middle:])
    outcomes = (*one.outcomes, *two.outcomes)
    if not any(o.way in (DIED, UNNAMED) for o in outcomes):
        outcomes = batch.outcomes  # no one file alone
    return Batch(outcomes, _worse(batch.ran, one.ran, two.ran))


def _worse(*runs: FinishedCommand) -> FinishedCommand:
    most = max(run.worker_bytes for run in runs)
    program = max(run.program_bytes for run in runs)
    return dataclasses.replace(runs[0], worker_bytes=most, program_bytes=program)


def removed(folder: Path) -> None:
    """Removes a batch of files with all their outputs."""
    shutil.rmtree(folder, ignore_errors=True)
