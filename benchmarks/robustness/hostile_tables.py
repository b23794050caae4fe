"""Hostile tables: each is a source of its own, so `preprocess` is called once for each of them.

All calls run in one guarded process through the command line's own `main`, which spares the start
of a thousand programs; a table that ends that process has ended the program. Tables are read by
code of our own, so the lines of it that each one reaches are watched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import soundfile

import affectstream.preprocessing
from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.parallel import tasks
from affectstream.parallel.process_pool import ProcessPoolEngine
from affectstream.parallel.tasks import MAX_DEATHS, ReportStep, TaskLimits, WorkerDied
from benchmarks.robustness.hostile_runs import (
    DIED,
    READ,
    REJECTED,
    Batch,
    FileOutcome,
    FinishedCommand,
    message_template,
)

WATCHED = Path(affectstream.preprocessing.__file__).parent
ENDINGS = {"manifest": "manifest.csv", "openface": "openface.csv", "fer2013": "fer2013.csv"}
# Folder, name of the table in it, and the error each time it ended its process.
Task = tuple[Path, str, tuple[str, ...]]
_GOOD = "path,label,speaker\ngood.wav,sad,me\n"


def run(folder: Path, names: Sequence[str], limits: TaskLimits) -> Batch:
    """What becomes of each table of a folder."""
    at_s = np.arange(16_000) / 16_000
    soundfile.write(folder / "good.wav", 0.5 * np.sin(2 * np.pi * 440 * at_s), 16_000)
    (folder / "good.csv").write_text(_GOOD)
    began_s = time.monotonic()
    with ProcessPoolEngine(1).open(_called, limits) as pool:
        given: list[Task] = [(folder, name, ()) for name in names]
        outcomes = [outcome for _, outcome in tasks.run(pool, given, _after)]
    ran = FinishedCommand(0, "", "", time.monotonic() - began_s, 0, 0, 0)
    return Batch(tuple(outcomes), ran)


def _after(task: Task, died: WorkerDied) -> Task:
    folder, name, deaths = task
    return folder, name, (*deaths, died.reason)


def _called(task: Task, report_step: ReportStep) -> FileOutcome:
    folder, name, deaths = task
    if len(deaths) >= MAX_DEATHS:
        return FileOutcome(name, DIED, deaths[-1])
    from affectstream import cli

    report_step(0)
    out = folder / f"out-{os.getpid()}"
    err = io.StringIO()
    code: Any
    lines_run: set[str] = set()
    try:
        with (
            contextlib.redirect_stderr(err),
            contextlib.redirect_stdout(io.StringIO()),
            watched_lines(lines_run),
        ):
            code = cli.main(words(folder, name, out))
    except Exception:
        code = "".join(traceback.format_exc().splitlines()[-3:])
    left = [path for path in out.rglob("*") if TEMPORARY_MARK in path.name] if out.exists() else []
    shutil.rmtree(out, ignore_errors=True)
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("preprocess: ")]
    judged = _judged(folder, name, code, lines, len(left))
    return dataclasses.replace(judged, lines=frozenset(lines_run))


@contextlib.contextmanager
def watched_lines(seen: set[str]) -> Iterator[None]:
    """Adds "file:line" of every line of `preprocessing` that this thread runs to `seen`."""
    known: dict[str, str] = {}

    def name_of(path: str) -> str:
        if path not in known:
            inside = path.startswith(str(WATCHED))
            known[path] = Path(path).relative_to(WATCHED).as_posix() if inside else ""
        return known[path]

    def trace(frame: FrameType, event: str, value: Any) -> Any:
        if not (name := name_of(frame.f_code.co_filename)):
            return None
        seen.add(f"{name}:{frame.f_lineno}")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def words(folder: Path, name: str, out: Path) -> list[str]:
    """The command that reads a table of a folder."""
    corpus = "fer2013" if name.endswith(ENDINGS["fer2013"]) else "manifest"
    source, more = folder / name, ["--detector", "none"]
    if name.endswith(ENDINGS["openface"]):
        source, more = folder / "good.csv", ["--action-units", str(folder / name)]
    fixed = ["preprocess", "--corpus", corpus, "--source", str(source), "--out", str(out)]
    return [*fixed, "--workers", "0", *more]


def _judged(folder: Path, name: str, code: Any, lines: list[str], num_left: int) -> FileOutcome:
    def shape(line: str) -> str:
        return message_template(name, line.replace(f"{folder}/", ""))

    if code not in (0, 1, 3) or num_left:
        return FileOutcome(name, DIED, shape(f"{code} {num_left} {lines[-1:]}"))
    if code == 1:
        errors = [line for line in lines if line.startswith("Error: ")]
        if len(errors) != 1 or "\n" in errors[0]:
            return FileOutcome(name, DIED, shape(f"{len(errors)} lines"))
        return FileOutcome(name, REJECTED, shape(errors[0]))
    return FileOutcome(name, READ, shape("; ".join(_told(lines))))


def _told(lines: Sequence[str]) -> Iterator[str]:
    yield from sorted({line.partition(": ")[2][:60] for line in lines})
