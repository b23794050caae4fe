"""Tasks on a Ray cluster: all done, the same as anywhere, whatever dies."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.crossval.run import run_crossval
from affectstream.parallel import tasks
from affectstream.parallel.ray_cluster import RayCluster
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine, TaskLimits, WorkerDied
from tests.conftest import ROOT
from tests.modeling.crossval import test_engines
from tests.support import models
from tests.support.engine_work import FaultyTask, process, work
from tests.support.factories import files_below, sample_source
from tests.support.models import error_line, run

LIMITS = TaskLimits(step_timeout_s=10.0, memory_bytes=600 * 2**20)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one process on this machine; further nodes can be added."""
    ray = pytest.importorskip("ray")
    made = started()
    yield made
    ray.shutdown()
    made.shutdown()


def started(more_tries: int = 2) -> Any:
    """A cluster; Ray's own start, which a busy machine lets fail now and then, is tried again."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # The server has 30 s by default to name its port; beside another test that was too little.
        patch.setenv("RAY_gcs_server_port_wait_time_s", "60")
        try:
            return Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        except Exception as error:
            if more_tries:
                ray.shutdown()
                return started(more_tries - 1)
            raise RuntimeError(f"{error}; {told_by_the_server()}") from error


def told_by_the_server() -> str:
    """The end of what the newest cluster's server wrote on its two streams."""
    logs = Path("/tmp/ray/session_latest/logs")
    return " | ".join(
        f"{path.name}: {path.read_text(errors='replace')[-1000:]}"
        for path in sorted(logs.glob("gcs_server*"))
    )


def test_all_are_done_whatever_they_die_of(cluster: Any) -> None:
    faults = ("kill", "spin", "eat", "die")
    given = [
        FaultyTask("a"),
        *(FaultyTask(fault, faults={1: fault}) for fault in faults),
        FaultyTask("z"),
    ]
    with RayCluster(cluster.address).open(work, LIMITS) as pool:
        assert pool.capacity == 2
        found = {result: one for one, result in tasks.run(pool, given, FaultyTask.after)}
    assert set(found) == {"a 0", "z 0", *(f"{fault} 2" for fault in faults)}
    told = {name: one.deaths for name, one in found.items() if one.deaths}
    assert all(died.step == 1 and died.is_task_fault for deaths in told.values() for died in deaths)
    reasons = {name: {died.reason for died in deaths} for name, deaths in told.items()}
    assert reasons["spin 2"] == {"took longer than 10 s"}
    assert reasons["eat 2"] == {"needs more than 0.59 GiB of memory"}
    assert reasons["kill 2"] == {"ended its process by SIGSEGV"}
    assert reasons["die 2"] == {"ended its process with code 7"}


def test_a_machine_that_is_lost_costs_nobody_a_try(cluster: Any) -> None:
    second = cluster.add_node(num_cpus=2)
    deaths: list[WorkerDied] = []
    done = []

    def after(task: FaultyTask, died: WorkerDied) -> FaultyTask:
        deaths.append(died)
        return task.after(died)

    with RayCluster(cluster.address).open(work, TaskLimits()) as pool:
        given = [FaultyTask(str(number), num_steps=4, pause_s=0.25) for number in range(16)]
        for one, _ in tasks.run(pool, given, after):
            done.append(one.name)
            if len(done) == 4:
                cluster.remove_node(second, allow_graceful=False)
    assert sorted(map(int, done)) == list(range(16))
    assert not [died for died in deaths if died.is_task_fault]


def test_telling_starts_no_further_process(cluster: Any) -> None:
    with RayCluster(cluster.address).open(process, TaskLimits()) as pool:
        given = [FaultyTask(str(number), num_steps=100, pause_s=0.005) for number in range(8)]
        found = [result for _, result in tasks.run(pool, given, FaultyTask.after)]
        assert len(set(found)) <= pool.capacity - 1


def test_what_the_work_raises_comes_as_it_was(cluster: Any) -> None:
    with (
        RayCluster(cluster.address).open(work, LIMITS) as pool,
        pytest.raises(UserError, match=r"^disk full; free some space$"),
    ):
        list(tasks.run(pool, [FaultyTask("b", faults={0: "refuse"})], FaultyTask.after))


def test_records_are_the_same_as_on_this_machine(cluster: Any, tmp_path: Path) -> None:
    """In a process of its own, whose standard output is nothing but the result."""
    words = ["--corpus", "sample", "--source", str(sample_source()), "--detector", "haar"]
    words += ["--num-frames", "2", "--face-size", "32"]
    said = []
    for name, more in {
        "local": [],
        "ray": ["--engine", "ray", "--address", cluster.address],
    }.items():
        command = [sys.executable, "cli.py", "preprocess", *words, "--out", tmp_path / name, *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == EXIT_OK, done.stderr
        assert "21/21" in done.stderr
        said.append(done.stdout.replace(str(tmp_path / name), "OUT"))
    assert files_below(tmp_path / "local") == files_below(tmp_path / "ray")
    assert said[0] == said[1]


def test_crossval_is_the_same_as_on_this_machine(cluster: Any, tmp_path: Path) -> None:
    data = models.write_data(tmp_path / "data", models.records(6, streams=("text",)))
    engines: dict[str, Engine] = {"here": SerialEngine(), "ray": RayCluster(cluster.address)}
    for name, engine in engines.items():
        crossval = test_engines.planned(data, tmp_path / name)
        run_crossval(crossval, engine=engine)
    test_engines.assert_equal(tmp_path / "here", tmp_path / "ray")


# === Refused ===

SAMPLE = ("preprocess", "--corpus", "sample", "--detector", "none")


@pytest.mark.cluster
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_no_cluster_there(address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    where = ("--source", sample_source(), "--out", tmp_path / "out")
    assert run(*SAMPLE, *where, "--engine", "ray", "--address", address) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert f"--address {address}: no Ray cluster answers (" in line
    assert "`ray start --head`" in line


def test_without_ray_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    where = ("--source", sample_source(), "--out", tmp_path / "out")
    assert run(*SAMPLE, *where, "--engine", "ray") == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert line == "Error: --engine ray: needs `pip install -r requirements-cluster.txt`"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--address", "auto"), "--address names a Ray cluster; add --engine ray"),
        (("--engine", "ray", "--workers", 0), "--workers 0 is for --engine local"),
        (("--engine", "ray", "--address", "auto", "--workers", 2), "has its own number"),
        (("--engine", "dask"), "'dask' is not one of 'local', 'ray'"),
    ],
)
def test_options_that_do_not_go_together(
    words: tuple[object, ...], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*SAMPLE, "--source", "x", *words) == EXIT_USAGE
    assert told in capfd.readouterr().err
