"""Engine that runs tasks on a running Ray cluster, or on one started on this machine."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from affectstream import PROJECT
from affectstream.core.errors import UserError
from affectstream.parallel import resource_limits
from affectstream.parallel.tasks import Pool, TaskLimits, Work, WorkerDied

# After a process died, the cluster may need this long to notice that its node died, too.
NODE_LOSS_GRACE_S = 5.0
CONNECT_TIMEOUT_S = 10.0
# How long tasks that are ended are waited for.
SHUTDOWN_TIMEOUT_S = 10.0
# How often a step that is told again is told to the diary.
REPEAT_INTERVAL_S = 1.0
ROOT = PROJECT


@dataclass(frozen=True)
class RayCluster:
    """Each node needs the program, its inputs and its outputs under the same paths.

    Attributes:
      address: "host:port" of the head, or "auto"; "" starts a cluster of this machine.
      num_workers: processes of that cluster; None takes a process a core.
    """

    address: str = ""
    num_workers: int | None = None

    @contextlib.contextmanager
    def open(self, work: Work, limits: TaskLimits) -> Iterator[Pool]:
        """See `Engine`.

        Raises:
          UserError: Ray is not installed, or no cluster answers at the address.
        """
        ray = _ray()
        self._connect(ray)
        try:
            pool = _RayPool(ray, work, limits)
            try:
                yield pool
            finally:
                pool.end()
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        _require_listener(self.address)
        given: dict[str, Any] = {"address": self.address}
        if not self.address:
            given = {"address": "local", "num_cpus": self.num_workers, "include_dashboard": False}
        try:
            ray.init(
                **given,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(self.address, error) from error


def _require_listener(address: str) -> None:
    """Ray itself would try for minutes and then end the program.

    Raises:
      UserError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> UserError:
    return UserError(
        f"--address {address}: no Ray cluster answers ({_first_line(error)}); start one with"
        " `ray start --head`, or leave --address out"
    )


def _ray() -> Any:
    """Ray, imported only when it is asked for.

    Raises:
      UserError: not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its authors
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: needs `pip install -r requirements-cluster.txt`") from None
    # Ray 2.60 prints on stdout what its machines say of dead processes and has no option against
    # it; we tell of each by the name of what it read.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


@dataclass(frozen=True)
class _Suspect:
    """A process that died, perhaps with its machine."""

    task_id: int
    node: str
    died: WorkerDied
    since_s: float = field(default_factory=time.monotonic)


class _RayPool:
    def __init__(self, ray: Any, work: Work, limits: TaskLimits) -> None:
        self._ray = ray
        self._limits = limits
        self._work = ray.put(work)
        # The node of the main program: any other node may be lost.
        here = ray.get_runtime_context().get_node_id()
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        remote = ray.remote(num_cpus=0, scheduling_strategy=strategy)(_TaskTracker)
        self._tracker = remote.remote()
        self._run = ray.remote(num_cpus=1, max_retries=0)(_run)
        self._task_ids: dict[Any, int] = {}
        self._ended: list[tuple[int, Any]] = []
        self._suspects: list[_Suspect] = []

    @property
    def capacity(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0)) + 1

    def submit(self, task_id: int, task: Any) -> None:
        words = (self._work, task, task_id, self._tracker, self._limits, str(Path.cwd()))
        reference = self._run.remote(*words)
        self._task_ids[reference] = task_id

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        wait, tickets = self._ray.wait, list(self._task_ids)
        ready = wait(tickets, num_returns=1, timeout=timeout_s)[0] if tickets else []
        if ready:
            ready, _ = wait(tickets, num_returns=len(tickets), timeout=0)
        elif not tickets:
            time.sleep(timeout_s)
        for reference in ready:
            self._take(self._task_ids.pop(reference), reference)
        ended, self._ended = self._ended + self._settled_suspects(), []
        return sorted(ended, key=lambda one: one[0])

    def _take(self, task_id: int, reference: Any) -> None:
        errors = self._ray.exceptions
        try:
            self._ended.append((task_id, self._ray.get(reference)))
        except errors.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from error
            raise UserError(f"on the cluster: {_first_line(error.cause)}") from error
        except (errors.ObjectLostError, errors.NodeDiedError, errors.LocalRayletDiedError) as error:
            self._ended.append((task_id, WorkerDied(None, _first_line(error), is_task_fault=False)))
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            entry = self._ray.get(self._tracker.read.remote(task_id))
            if entry is None:  # it never began
                self._ended.append(
                    (task_id, WorkerDied(None, _first_line(error), is_task_fault=False))
                )
            else:
                told = WorkerDied(entry.step, self._reason(entry, error))
                self._suspects.append(_Suspect(task_id, entry.node, told))
        except errors.RayError as error:
            raise UserError(f"the Ray cluster failed: {_first_line(error)}") from error

    def _reason(self, entry: _TaskState, error: Exception) -> str:
        if entry.exit_reason:
            return entry.exit_reason
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return "needs more memory than its machine has"
        # A process that is ended by faulthandler's C thread cannot report a reason.
        if time.time() - entry.reported_s >= self._limits.step_timeout_s:
            return resource_limits.describe_exit(resource_limits.EXIT_TIME_LIMIT, self._limits)
        return "ended its process"

    def _settled_suspects(self) -> list[tuple[int, WorkerDied]]:
        """Worker deaths that are now known to be the task's fault or a lost node."""
        if not self._suspects:
            return []
        alive = {one["NodeID"] for one in self._ray.nodes() if one["Alive"]}
        judged, waiting = [], []
        for one in self._suspects:
            if one.node not in alive:
                judged.append((one.task_id, replace(one.died, step=None, is_task_fault=False)))
            elif time.monotonic() - one.since_s >= NODE_LOSS_GRACE_S:
                judged.append((one.task_id, one.died))
            else:
                waiting.append(one)
        self._suspects = waiting
        return judged

    def steps(self) -> dict[int, int]:
        told: dict[int, int] = self._ray.get(self._tracker.steps.remote())
        return told

    def end(self) -> None:
        """Ends what still runs."""
        open_ = list(self._task_ids)
        for reference in open_:
            self._ray.cancel(reference, force=True)
        if open_:
            self._ray.wait(open_, num_returns=len(open_), timeout=SHUTDOWN_TIMEOUT_S)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


# === Where tasks run ===


@dataclass
class _TaskState:
    """State of a running task."""

    node: str
    step: int | None = None
    reported_s: float = 0.0
    exit_reason: str = ""


class _TaskTracker:
    """Actor that keeps the last reported step of each task, also after its process died."""

    def __init__(self) -> None:
        self._entries: dict[int, _TaskState] = {}

    def begin(self, task_id: int, node: str) -> None:
        self._entries[task_id] = _TaskState(node)

    def report_step(self, task_id: int, step: int) -> None:
        entry = self._entries[task_id]
        entry.step, entry.reported_s = step, time.time()

    def say(self, task_id: int, exit_reason: str) -> None:
        self._entries[task_id].exit_reason = exit_reason

    def end(self, task_id: int) -> None:
        self._entries.pop(task_id, None)

    def read(self, task_id: int) -> _TaskState | None:
        return self._entries.pop(task_id, None)

    def steps(self) -> dict[int, int]:
        return {t: entry.step for t, entry in self._entries.items() if entry.step is not None}


# The task of this process, for what watches it.
_report_exit_reason: list[Callable[[str], None]] = []


def _done(reference: Any) -> Any:
    """What a call of the diary gave, waited for.

    `ray.get` would lend the core of this task to another one meanwhile: Ray then starts a further
    process, and more of them work than there are cores.
    """
    return reference.future().result()


def _run(work: Work, task: Any, task_id: int, tracker: Any, limits: TaskLimits, folder: str) -> Any:
    import ray

    try:
        os.chdir(folder)  # paths may be relative to where the program was started
    except OSError as error:
        raise UserError(
            f"{folder}: not on {socket.gethostname()} ({error.strerror}); every machine of the"
            " cluster needs the same folders"
        ) from error
    _done(tracker.begin.remote(task_id, ray.get_runtime_context().get_node_id()))
    _report_exit_reason[:] = [lambda words: _done(tracker.say.remote(task_id, words))]
    _watch(limits)
    last_step, last_s = -1, -math.inf

    def report_step(step: int) -> None:
        nonlocal last_step, last_s
        now_s = time.monotonic()
        # The records of one clip are one step; the diary of a large cluster has enough to do.
        if step != last_step or now_s - last_s >= REPEAT_INTERVAL_S:
            # Blocks until the step is stored: the process may die right after.
            _done(tracker.report_step.remote(task_id, step))
            last_step, last_s = step, now_s
        resource_limits.begin_step(limits)

    try:
        return work(task, report_step)
    finally:
        resource_limits.end_step()
        _done(tracker.end.remote(task_id))


@functools.cache
def _watch(limits: TaskLimits) -> None:
    """Starts the limits once per process; a process runs many tasks."""
    resource_limits.enforce_limits(limits, lambda words: _report_exit_reason[0](words))
