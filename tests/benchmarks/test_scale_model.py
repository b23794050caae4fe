"""The simulation on cases that can be reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed.scale_model import (
    ShardJobs,
    SimulatedCluster,
    all_at_once,
    drawn_lengths_s,
    drawn_speeds,
    job_sums,
    simulate,
)


def pieces(*seconds: float, store_s: float = 0.0) -> ShardJobs:
    cpu_s = np.array(seconds, float)
    return ShardJobs(cpu_s, np.full(len(cpu_s), store_s))


def machines(num: int, processes: int = 1, **more: float) -> SimulatedCluster:
    return SimulatedCluster(np.ones(num), processes, **more)


@pytest.mark.parametrize(("num", "processes", "wanted_s"), [(1, 1, 60), (2, 1, 30), (1, 3, 20)])
def test_equal_pieces_are_shared_out(num: int, processes: int, wanted_s: float) -> None:
    made = simulate(pieces(*[10.0] * 6), machines(num, processes))
    assert made.seconds == made.useful_s / (num * processes) == wanted_s
    assert (made.idle, made.lost_s, made.num_failures) == (0, 0, 0)


def test_handed_out_to_whoever_is_free() -> None:
    given = pieces(9, 1, 1, 1, 1, 1, 1, 3)
    assert simulate(given, machines(2)).seconds == 9  # 9 here, all others there
    assert all_at_once(given, machines(2)) == 12  # 9 + 1 + 1 + 1 against 1 + 1 + 1 + 3


def test_no_schedule_is_shorter_than_its_bounds() -> None:
    given = ShardJobs(np.random.default_rng(1).lognormal(0, 1, 500), np.zeros(500))
    total_s, longest_s = given.cpu_s.sum(), given.cpu_s.max()
    for ordered in (given, given.longest_first()):
        made = simulate(ordered, machines(4, 5))
        # Graham 1969: no list is longer than this.
        assert max(total_s / 20, longest_s) <= made.seconds <= total_s / 20 + longest_s
        assert made.useful_s == pytest.approx(total_s)


def test_the_longest_last_is_waited_for() -> None:
    given = pieces(1, 1, 1, 1, 4)
    assert simulate(given, machines(2)).seconds == 6
    assert simulate(given.longest_first(), machines(2)).seconds == 4


def test_a_slow_machine_gets_less() -> None:
    made = simulate(pieces(*[1.0] * 9), SimulatedCluster(np.array([2.0, 1.0]), 1))
    assert made.seconds == 3  # six pieces by the fast one


def test_what_dies_is_done_again() -> None:
    """Machine 0 dies at 15 with 5 s of a piece, stands again at 25; noticed at 17."""
    given = pieces(10, 10, 10, 10)
    made = simulate(given, machines(2, noticed_s=2, replaced_s=10), failures=[(15.0, 0)])
    # Pieces 0 and 1 until 10, 2 and 3 then; 2 dies at 15, is free at 17, begun by machine 1 at 20.
    assert (made.seconds, made.lost_s, made.num_lost) == (30, 5, 1)
    assert made.useful_s == 40
    assert made.idle == pytest.approx(1 - 45 / 60)


def test_a_lost_piece_waits_for_nobody_when_one_is_free() -> None:
    made = simulate(pieces(10, 4), machines(2, noticed_s=1, replaced_s=100), failures=[(5.0, 0)])
    assert (made.seconds, made.lost_s) == (16, 5)  # machine 1 is free from 4 on, begins at 6


def test_drawn_failures_are_as_many_as_the_rate_says() -> None:
    given = pieces(*[1.0] * 20_000)
    made = simulate(given, machines(10, failure_s=100.0), seed=3)
    assert made.num_failures == pytest.approx(10 * made.seconds / 100, rel=0.25)
    assert made.useful_s == pytest.approx(20_000)
    assert made == simulate(given, machines(10, failure_s=100.0), seed=3)
    assert made != simulate(given, machines(10, failure_s=100.0), seed=4)


def test_one_program_hands_out_one_after_the_other() -> None:
    made = simulate(pieces(*[1.0] * 100), machines(100, hand_out_s=0.5))
    assert made.seconds == 51


def test_storage_bounds_what_processors_do_not() -> None:
    assert simulate(pieces(*[1.0] * 4, store_s=3.0), machines(2)).seconds == 6


def test_drawn_lengths_and_speeds() -> None:
    rng = np.random.default_rng(0)
    lengths_s = drawn_lengths_s(100, 60, 1.0, rng)
    assert (len(lengths_s), lengths_s.sum()) == (6000, pytest.approx(360_000))
    assert job_sums(np.arange(5.0), [0, 2, 4]).tolist() == [1, 5, 4]
    speeds = drawn_speeds(10_000, 0.0, 0.25, rng)
    assert set(speeds) == {0.5, 1.0}
    assert np.mean(speeds == 0.5) == pytest.approx(0.25, abs=0.02)
