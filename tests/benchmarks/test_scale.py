"""Benchmarks of scaling: on tiny input, and what they reckon from what they measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.preprocessing.corpora.manifest import MANIFEST
from benchmarks import processes, report
from benchmarks.processes import CommandUsage
from benchmarks.speed import (
    cluster_speed,
    copied_corpus,
    costs,
    growth,
    scale_plan,
    scale_simulation,
    stage_cost,
)
from benchmarks.speed.scale_plan import Figures, Plan
from tests.support.tables import printed_rows

RUNS = (
    cluster_speed.ONE_WORKER,
    cluster_speed.LOCAL,
    cluster_speed.RAY,
    cluster_speed.ONE_NODE,
    cluster_speed.TWO_NODES,
)


def ran(cpu_s: float, mib: float = 100.0) -> CommandUsage:
    return CommandUsage(wall_s=cpu_s / 2, cpu_s=cpu_s, program_mib=mib, worker_mib=mib)


# === Stages ===


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


def test_stage_cost_benchmark_measures_stages_and_keeps_them(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "names", lambda kind: ("haar",))
    out, kept = tmp_path / "table.md", tmp_path / "costs.json"
    words = ["--quick", "--work", str(work), "--out", str(out), "--costs", str(kept)]
    assert stage_cost.main(words) == 0
    rows = {name: [float(cell) for cell in cells] for name, *cells in printed_rows(capsys, out)}
    assert rows[stage_cost.WHOLE][0] > rows[stage_cost.SOUND][0] > 0
    assert rows["MB written"][0] > 0
    stages = costs.read(kept)["stages"]
    short = stages["kinds"]["short videos"]
    assert short["clips"] == 4 == round(rows["records"][0] * short["hours"])
    assert 500 < stages["driver_bytes_a_record"] < 20_000


def test_figures_of_one_benchmark_leave_those_of_others(tmp_path: Path) -> None:
    kept = tmp_path / "costs.json"
    costs.write(kept, "growth", "m", {"a": 1})
    costs.write(kept, "cluster", "m", {"b": 2})
    costs.write(kept, "growth", "n", {"a": 3})
    assert costs.read(kept) == {
        "cluster": {"machine": "m", "b": 2},
        "growth": {"machine": "n", "a": 3},
    }


def test_figures_that_are_missing_are_named(tmp_path: Path) -> None:
    kept = tmp_path / "costs.json"
    costs.write(kept, "stages", "m", {})
    with pytest.raises(UserError, match=r"costs.json: no figures of cluster; measure them first"):
        costs.read(kept, "stages", "cluster")


# === Growth ===


def test_copies_are_other_clips_of_the_same_content(work: Path, tmp_path: Path) -> None:
    one = copied_corpus.corpus(work, True)
    table = copied_corpus.manifest(one, tmp_path, 3)
    clips = MANIFEST.build_index(table).clips
    assert len({clip.key for clip in clips}) == len({clip.path for clip in clips}) == 12
    assert len({atomic_io.file_sha256(clip.path) for clip in clips}) == 4
    assert copied_corpus.corpus(work, True, 2).hours == pytest.approx(2 * one.hours)


def test_growth_is_told_without_the_start() -> None:
    linear = {n: [ran(3 + 2 * n)] for n in (1, 2, 4, 8)}
    assert growth.per_copy_without_startup(linear, "cpu_s") == pytest.approx(
        dict.fromkeys(linear, 1.0)
    )
    assert growth.per_copy(linear, "cpu_s")[2] == pytest.approx([0.7])
    assert growth.verdicts(linear).count("met") == 3
    bent = {**linear, 8: [ran(3 + 2 * 8 * 1.2, mib=120.0)]}
    assert growth.per_copy_without_startup(bent, "cpu_s")[8] == pytest.approx(1.2)
    assert growth.verdicts(bent).count("**missed**") == 3


# === Both engines ===


def test_overheads_with_and_without_the_start(tmp_path: Path) -> None:
    bench = cluster_speed.Bench(tmp_path, tmp_path, tmp_path, "haar", None)
    bench.runs = {cluster_speed.LOCAL: [ran(11)], cluster_speed.RAY: [ran(22)]}
    bench.starts = {cluster_speed.LOCAL: [ran(1)], cluster_speed.RAY: [ran(11)]}
    found = cluster_speed.overheads(bench)
    assert found["cpu_s, start included"] == pytest.approx(1.0)
    assert found["cpu_s, start apart"] == pytest.approx(0.1)
    told = cluster_speed.lines_of(found, 100.0)
    assert "by the clock +10.0%, met; by CPU time +10.0%, met" in told


def test_time_and_memory_of_all_processes() -> None:
    code = (
        "import subprocess, sys, time; b = bytearray(60 * 2**20);"
        "w = 'import time; b = bytearray(120 * 2**20); t = time.process_time()\\n"
        "while time.process_time() < t + 0.5: pass\\ntime.sleep(0.5)';"
        "subprocess.run([sys.executable, '-c', w])"
    )
    made = processes.run(["-c", code])
    assert 60 < made.program_mib < 120 < made.worker_mib < 180
    assert 0.4 < made.cpu_s < made.wall_s + 0.5
    with pytest.raises(RuntimeError, match="exit code 3"):
        processes.run(["-c", "raise SystemExit(3)"])
    processes.run(["-c", "raise SystemExit(3)"], accepted=(3,))


# === Simulation ===

FIGURES = Figures(
    cpu_s=360, read_bytes=9e8, written_bytes=1e8, records=360, record_bytes=1024, tasks_s=1e9
)


def plan(**more: Any) -> Plan:
    even: dict[str, Any] = {"speed_spread": 0.0, "slow_share": 0.0, "length_spread": 0.0}
    small: dict[str, Any] = {"hours": 800.0, "nodes": 10, "heads": 2, "failures": 0.0}
    shards: dict[str, Any] = {"clips_a_shard": 3, "mb_a_shard": 1e9}
    return Plan(**{**even, **small, **shards, "store_gbit": 1e6, **more})


def test_a_plan_without_chance_takes_work_over_processes() -> None:
    made = scale_plan.simulate(plan(), FIGURES)
    # 800 h x 360 CPU s over 80 processes; 4,800 recordings in 1,600 pieces, 20 a process.
    assert made.seconds == pytest.approx(3600, rel=1e-6)
    assert made.num_pieces == 1600
    assert (made.idle, made.lost) == (pytest.approx(0, abs=1e-6), 0)
    assert made.shard_mb == pytest.approx(800 * 100 / 1600)
    assert made.head_gib == pytest.approx(400 * 360 * 1024 / 2**30)
    assert made.store_gbit == pytest.approx(800 * 1e9 * 8 / 3600 / 1e9)


def test_a_narrow_store_bounds_the_plan() -> None:
    # 800 h x 1 GB at 1 Gbit/s.
    assert scale_plan.simulate(plan(store_gbit=1.0), FIGURES).seconds == pytest.approx(6400)


def test_failures_cost_work_and_time() -> None:
    made = scale_plan.simulate(plan(failures=20_000.0), FIGURES)
    assert made.seconds > 3600
    assert made.lost > 0


def test_simulation_benchmark_compares_with_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, out = tmp_path / "costs.json", tmp_path / "table.md"
    kinds = {
        name: {
            "cpu_s_an_hour": {stage_cost.WHOLE: 360.0},
            "read_bytes_an_hour": 9e8,
            "written_bytes_an_hour": 1e8,
            "records_an_hour": 360,
            "clips": 32,
            "hours": 0.1,
        }
        for name in ("short videos", "sounds", "long video")
    }
    costs.write(kept, "stages", "m", {"driver_bytes_a_record": 1024, "kinds": kinds})
    both = {name: {"wall_s": 34.0, "cpu_s": 34.0} for name in RUNS}
    start = {name: {"wall_s": 2.0, "cpu_s": 2.0} for name in RUNS}
    cluster = {"clips": 64, "tasks_a_second": 300, "runs": both, "starts": start}
    costs.write(kept, "cluster", "m", cluster)
    costs.write(kept, "growth", "m", {"clips_a_copy": 64, "cpu_s": {"1": [74.0], "2": [148.0]}})
    assert scale_simulation.main(["--quick", "--costs", str(kept), "--out", str(out)]) == 0
    assert printed_rows(capsys, out) == [
        ["local, 2 workers, s", "18.0", "34.0", "-47%"],
        ["Ray, 1 machine, s", "34.0", "34.0", "+0%"],
        ["Ray, 2 machines, s", "18.0", "34.0", "-47%"],
        ["Ray, 2 workers, s", "18.0", "34.0", "-47%"],
        ["1 copies, CPU s", "74.0", "74.0", "+0%"],
        ["2 copies, CPU s", "146.0", "148.0", "-1%"],
    ]
