"""A process that works piece by piece for another, whatever it dies of."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from affectstream.core.errors import UserError
from affectstream.parallel.isolated_worker import IsolatedWorker, WorkerDiedError
from tests.conftest import ROOT
from tests.support.engine_work import DEATHS, LIMITS, num_yielded, pieces, unending


def test_pieces_come_in_order_and_of_any_number() -> None:
    with IsolatedWorker(LIMITS, (pieces,)) as process:
        assert list(process(pieces, 5)) == list(range(5))
        assert list(process(pieces, 0)) == []
        assert list(process(pieces, 1000)) == list(range(1000))


@pytest.mark.parametrize(("fault", "reason"), DEATHS)
def test_a_death_is_told_and_the_next_work_is_done(fault: str, reason: str) -> None:
    seen: list[int] = []
    # To fill memory takes its time on busy cores.
    limits = replace(LIMITS, step_timeout_s=60.0) if fault == "eat" else LIMITS
    with IsolatedWorker(limits) as process:
        with pytest.raises(WorkerDiedError) as told:
            seen.extend(process(pieces, 5, {2: fault}))
        assert str(told.value) == reason
        assert seen in ([0, 1], [0], [])  # a pipe may die with what is in it
        assert list(process(pieces, 3)) == [0, 1, 2]


def test_what_the_work_raises() -> None:
    with IsolatedWorker(LIMITS) as process:
        with pytest.raises(UserError, match="disk full"):
            list(process(pieces, 5, {2: "refuse"}))
        with pytest.raises(ZeroDivisionError) as told:
            list(process(pieces, 5, {2: "divide"}))
        assert "ZeroDivisionError" in told.value.__notes__[0]
        with pytest.raises(RuntimeError, match="StubbornError"):
            list(process(pieces, 5, {2: "stubborn"}))
        assert list(process(pieces, 2)) == [0, 1]


def test_work_that_is_given_up_is_stopped_and_runs_ahead_by_a_pipe_only() -> None:
    with IsolatedWorker(LIMITS) as process:
        endless = process(unending, 100_000)
        first = list(itertools.islice(endless, 3))
        time.sleep(0.3)
        endless.close()  # type: ignore[attr-defined]
        assert first == [b"x" * 100_000] * 3
        (ahead,) = process(num_yielded)
        assert 3 <= ahead < 20, "a pipe holds some hundred kilobytes"


def test_waiting_for_the_other_side_is_no_step() -> None:
    with IsolatedWorker(LIMITS) as process:
        pieces_of = process(unending, 1_000_000)
        next(pieces_of)
        time.sleep(LIMITS.step_timeout_s + 0.5)
        assert len(next(pieces_of)) == 1_000_000


def test_no_process_outlives_it() -> None:
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    with IsolatedWorker(LIMITS) as process:
        next(process(unending, 10))
    left = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    # Python's own tracker of shared resources stays.
    names = [psutil.Process(pid).cmdline() for pid in left - before]
    assert not [name for name in names if "spawn_main" in " ".join(name)]


def test_a_process_with_a_bar_leaves_no_semaphore() -> None:
    code = (
        "from affectstream.parallel.isolated_worker import IsolatedWorker\n"
        "from affectstream.parallel.tasks import TaskLimits\n"
        "from tests.support.engine_work import counted\n"
        "with IsolatedWorker(TaskLimits()) as process: print(list(process(counted, 3)))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (made.returncode, made.stdout) == (0, "[0, 1, 2]\n")
    assert "leaked" not in made.stderr
