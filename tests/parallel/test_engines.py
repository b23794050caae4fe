"""Tasks on every engine: all done, whatever their processes die of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from affectstream.core.errors import UserError
from affectstream.parallel import tasks
from affectstream.parallel.process_pool import ProcessPoolEngine
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine, TaskLimits
from tests.conftest import ROOT
from tests.support.engine_work import DEATHS, LIMITS, FaultyTask, work
from tests.support.processes import sigint_handler


def done(
    engine: Engine,
    given: list[FaultyTask],
    limits: TaskLimits = LIMITS,
    seen: list[int] | None = None,
) -> dict[str, FaultyTask]:
    """What came of the tasks: result -> the task as it was when it succeeded."""
    on_steps = (lambda _: None) if seen is None else seen.append
    with engine.open(work, limits) as pool:
        return {result: one for one, result in tasks.run(pool, given, FaultyTask.after, on_steps)}


@pytest.mark.parametrize(
    "engine",
    [SerialEngine(), ProcessPoolEngine(1), ProcessPoolEngine(2)],
    ids=["here", "one", "two"],
)
def test_every_task_is_done_once(engine: Engine) -> None:
    given = [FaultyTask(str(number)) for number in range(20)]
    assert done(engine, given) == {f"{one.name} 0": one for one in given}


def test_tasks_are_taken_as_fast_as_they_are_done() -> None:
    taken, ended = [], 0

    def source() -> Iterator[FaultyTask]:
        for number in range(30):
            taken.append(number)
            yield FaultyTask(str(number), num_steps=1)

    with ProcessPoolEngine(2).open(work, LIMITS) as pool:
        for _ in tasks.run(pool, source(), FaultyTask.after):
            ended += 1
            # What this very round of waiting brought may not be counted here yet.
            assert len(taken) - ended <= 2 * pool.capacity
    assert ended == 30


@pytest.mark.parametrize(("fault", "reason"), DEATHS)
def test_a_death_is_told_and_the_rest_goes_on(fault: str, reason: str) -> None:
    given = [
        FaultyTask("a"),
        FaultyTask("b", faults={1: fault}),
        *(FaultyTask(name) for name in "cdef"),
    ]
    limits = LIMITS if fault in ("hang", "spin") else replace(LIMITS, step_timeout_s=60)
    found = done(ProcessPoolEngine(2), given, limits)
    assert set(found) == {"a 0", "b 2", "c 0", "d 0", "e 0", "f 0"}
    deaths = found["b 2"].deaths
    assert [(one.step, one.reason, one.is_task_fault) for one in deaths] == [(1, reason, True)] * 2


def test_limits_are_of_a_step_not_of_a_task() -> None:
    slow = FaultyTask("slow", num_steps=6, pause_s=0.5)
    assert set(done(ProcessPoolEngine(1), [slow])) == {"slow 0"}


def test_steps_are_told_while_a_task_runs() -> None:
    seen: list[int] = []
    done(ProcessPoolEngine(1), [FaultyTask("slow", num_steps=5, pause_s=0.3)], seen=seen)
    assert {1, 2, 3} <= set(seen) and seen == sorted(seen[:-1]) + seen[-1:]


def test_a_process_that_dies_with_nothing_to_do_costs_nobody_anything() -> None:
    def source() -> Iterator[FaultyTask]:
        yield FaultyTask("a")
        deadline = time.monotonic() + 300
        while "a 0" not in ended:  # asked for the next one before the first one has ended
            yield FaultyTask(f"between {len(between)}")
            between.append(1)
            assert time.monotonic() < deadline
        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        time.sleep(1.0)
        yield FaultyTask("z")

    between: list[int] = []
    ended: list[str] = []
    with ProcessPoolEngine(2).open(work, LIMITS) as pool:
        for _, result in tasks.run(pool, source(), FaultyTask.after):
            ended.append(result)
    assert {"a 0", "z 0"} <= set(ended)
    assert len(ended) == 2 + len(between)


@pytest.mark.parametrize("engine", [SerialEngine(), ProcessPoolEngine(2)], ids=["here", "two"])
def test_what_the_work_raises_ends_all(engine: Engine) -> None:
    given = [
        FaultyTask("a"),
        FaultyTask("b", faults={0: "refuse"}),
        FaultyTask("c", faults={0: "refuse"}),
    ]
    with pytest.raises(UserError, match="disk full; free some space"):
        done(engine, given)


def test_machines_that_are_lost_do_not_count_but_not_for_ever() -> None:
    class Losing:
        """A pool that loses the machine of every task so many times."""

        capacity = 1

        def __init__(self, times: int) -> None:
            self.left = times
            self.given: list[tuple[int, FaultyTask]] = []

        def submit(self, task_id: int, task: FaultyTask) -> None:
            self.given.append((task_id, task))

        def finished(self, timeout_s: float) -> list[tuple[int, object]]:
            self.left -= 1
            task_id, task = self.given.pop()
            return [(task_id, tasks.WorkerDied(1, "went", False) if self.left >= 0 else task.name)]

        def steps(self) -> dict[int, int]:
            return {}

    one = FaultyTask("a", faults={1: "die"})
    assert list(tasks.run(Losing(tasks.MAX_LOST_MACHINES), [one], FaultyTask.after)) == [(one, "a")]
    with pytest.raises(UserError, match="lost 20 machines over one task: went"):
        list(tasks.run(Losing(tasks.MAX_LOST_MACHINES + 1), [one], FaultyTask.after))


ALONE = """
from affectstream.parallel import tasks
from affectstream.parallel.process_pool import ProcessPoolEngine
from tests.support.engine_work import FaultyTask, work
if __name__ == "__main__":
    with ProcessPoolEngine(2).open(work, tasks.TaskLimits()) as pool:
        given = [FaultyTask(str(n), faults={1: "hang"}) for n in range(3)]
        for one in tasks.run(pool, given, FaultyTask.after, lambda steps: print(steps, flush=True)):
            pass
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    with sigint_handler(signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout as lines:
        while next(lines).strip() != "2":  # both hang in their second step
            pass
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(how)
    process.wait()
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != "zombie" for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
