"""Engine that runs tasks on a running Ray cluster, or on one started on this machine."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream import PROJECT
from affectstream.core.errors import UserError
from affectstream.parallel.isolated_worker import Emit, IsolatedWorker, WorkerDiedError
from affectstream.parallel.tasks import Pool, TaskLimits, Work, WorkerDied

CONNECT_TIMEOUT_S = 10.0
# How long to wait for cancelled tasks.
SHUTDOWN_TIMEOUT_S = 10.0
ROOT = PROJECT


@dataclass(frozen=True)
class RayCluster:
    """Runs tasks on Ray; each node needs the program, inputs and outputs under the same paths.

    Attributes:
      address: "host:port" of the head, or "auto"; "" starts a cluster on this machine.
      num_workers: processes of that cluster; None uses one per core.
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
        init_options: dict[str, Any] = {"address": self.address}
        if not self.address:
            init_options = {
                "address": "local",
                "num_cpus": self.num_workers,
                "include_dashboard": False,
            }
        try:
            ray.init(
                **init_options,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(self.address, error) from error


def _require_listener(address: str) -> None:
    """Checks the address first, because Ray would retry for minutes and then end the program.

    Raises:
      UserError: nothing listens at the address.
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
    """Imports Ray on first use.

    Raises:
      UserError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports to its developers
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: needs `pip install -r requirements-cluster.txt`") from None
    # Private, because Ray 2.60 has no option for it: when a machine is lost, it prints the output
    # of the other machines on stdout.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


class _RayPool:
    def __init__(self, ray: Any, work: Work, limits: TaskLimits) -> None:
        self._ray = ray
        self._limits = limits
        self._work = work
        # The node of the main program, because any other node may be lost.
        here = ray.get_runtime_context().get_node_id()
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        remote = ray.remote(num_cpus=0, scheduling_strategy=strategy)(_TaskTracker)
        self._tracker = remote.remote()
        self._run = ray.remote(num_cpus=1, max_retries=0)(_run)
        self._task_ids: dict[Any, int] = {}

    @property
    def capacity(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0)) + 1

    def submit(self, task_id: int, task: Any) -> None:
        # As bytes, so that only the working process imports the modules it needs.
        content = pickle.dumps((self._work, task))
        reference = self._run.remote(content, task_id, self._tracker, self._limits, str(Path.cwd()))
        self._task_ids[reference] = task_id

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        wait, references = self._ray.wait, list(self._task_ids)
        ready = wait(references, num_returns=1, timeout=timeout_s)[0] if references else []
        if ready:
            ready, _ = wait(references, num_returns=len(references), timeout=0)
        ended = [(self._task_ids.pop(reference), reference) for reference in ready]
        return [(task_id, self._outcome(task_id, reference)) for task_id, reference in ended]

    def _outcome(self, task_id: int, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return pickle.loads(self._ray.get(reference))
        except errors.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from error
            raise UserError(f"on the cluster: {_first_line(error.cause)}") from error
        except errors.OutOfMemoryError:
            step = self.steps().get(task_id)
            return WorkerDied(step, "needs more memory than its machine has")
        except (
            errors.WorkerCrashedError,  # a crash of the task must not affect Ray's process
            errors.ObjectLostError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
        ) as error:
            return WorkerDied(None, _first_line(error), is_task_fault=False)
        except errors.RayError as error:
            raise UserError(f"the Ray cluster failed: {_first_line(error)}") from error
        finally:
            self._tracker.forget.remote(task_id)

    def steps(self) -> dict[int, int]:
        steps: dict[int, int] = self._ray.get(self._tracker.steps.remote())
        return steps

    def end(self) -> None:
        """Ends all running tasks."""
        open_ = list(self._task_ids)
        for reference in open_:
            self._ray.cancel(reference, force=True)
        if open_:
            self._ray.wait(open_, num_returns=len(open_), timeout=SHUTDOWN_TIMEOUT_S)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


# === Where tasks run ===


class _TaskTracker:
    """Actor that holds the last reported step of each running task."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}

    def report_step(self, task_id: int, step: int) -> None:
        self._steps[task_id] = step

    def forget(self, task_id: int) -> None:
        self._steps.pop(task_id, None)

    def steps(self) -> dict[int, int]:
        return self._steps


def _run(content: bytes, task_id: int, tracker: Any, limits: TaskLimits, folder: str) -> bytes:
    """Runs a task in a child of Ray's process; a child's death is reported here, ours by Ray.

    Returns:
      the result or `WorkerDied`, pickled.
    """
    try:
        os.chdir(folder)  # paths may be relative to the program's working folder
    except OSError as error:
        raise UserError(
            f"{folder}: not on {socket.gethostname()} ({error.strerror}); every machine of the"
            " cluster needs the same folders"
        ) from error
    step: int | None = None
    try:
        worker = _worker(limits)
        worker.start(_work, content)
        while True:
            is_result, value = worker.receive()
            if is_result:
                return bytes(value)
            if value != step:  # the records of one clip form one step
                tracker.report_step.remote(task_id, value)
            step = value
    except WorkerDiedError as error:
        return pickle.dumps(WorkerDied(step, str(error)))


# A Ray process runs many tasks.
_worker = functools.cache(IsolatedWorker)


def _work(emit: Emit, content: bytes) -> bytes:
    """Runs in the child process."""
    work, task = pickle.loads(content)
    return pickle.dumps(work(task, emit))
