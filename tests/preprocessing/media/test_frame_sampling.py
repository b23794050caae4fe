"""Which frames are wanted, and which packets that takes."""

from __future__ import annotations

import numpy as np
import pytest

from affectstream.preprocessing.media.video.frame_sampling import FrameSampling, plan_packets

AT_25_FPS = np.arange(100) / 25


def chosen(sampling: FrameSampling, times_s: np.ndarray, *bounds_s: tuple[float, float]):
    return [indices.tolist() for indices in sampling.choose(times_s, bounds_s)]


# === Evenly in time ===


def test_the_frame_on_show_at_the_middle_of_each_share() -> None:
    # Moments 0.5, 1.5, 2.5 and 3.5 s.
    assert chosen(FrameSampling("time", 4), AT_25_FPS, (0, 4)) == [[12, 37, 62, 87]]


def test_even_in_time_not_in_number() -> None:
    # 50 frames in the first second, then one a second.
    times_s = np.concatenate([np.arange(50) / 50, np.arange(1, 5)])
    assert chosen(FrameSampling("time", 5), times_s, (0, 5)) == [[25, 50, 51, 52, 53]]


def test_a_frame_on_show_twice_stands_once() -> None:
    assert chosen(FrameSampling("time", 8), np.array([0.0, 3.0]), (0, 4)) == [[0, 1]]


def test_stretches_are_sampled_each() -> None:
    sampling = FrameSampling("time", 2)
    assert chosen(sampling, AT_25_FPS, (0, 2), (2, 4)) == [[12, 37], [62, 87]]


def test_pictures_that_begin_late() -> None:
    assert chosen(FrameSampling("time", 4), AT_25_FPS + 2, (0, 4)) == [[0, 12, 37]]


# === Every third ===


def test_every_third_from_the_21st() -> None:
    sampling = FrameSampling("every-third", 2)
    assert chosen(sampling, AT_25_FPS, (0, 4)) == [list(range(20, 100, 3))]


def test_every_third_counts_through_the_file() -> None:
    first, second = chosen(FrameSampling("every-third"), AT_25_FPS, (0, 2), (2, 4))
    assert first + second == list(range(20, 100, 3))
    assert second[0] == 50


def test_a_short_file_is_taken_from_its_first() -> None:
    assert chosen(FrameSampling("every-third"), AT_25_FPS[:20], (0, 1)) == [
        [0, 3, 6, 9, 12, 15, 18]
    ]
    assert chosen(FrameSampling("every-third"), AT_25_FPS[:21], (0, 1)) == [[20]]


@pytest.mark.parametrize("mode", ["time", "every-third"])
def test_no_frames_give_no_samples(mode: str) -> None:
    assert chosen(FrameSampling(mode), np.zeros(0), (0, 1), (1, 2)) == [[], []]


@pytest.mark.parametrize(("mode", "num_frames"), [("random", 16), ("time", 0)])
def test_settings_that_cannot_be(mode: str, num_frames: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        FrameSampling(mode, num_frames)


# === Packets ===


def plan(times: list[int], keyframes: str, *wanted: int) -> str:
    """Packets to decode as `x`, others as `-`; `keyframes` are marked `K`; `wanted` are places."""
    marks = np.array([mark == "K" for mark in keyframes])
    is_wanted = np.isin(np.arange(len(times)), wanted)
    found = plan_packets(np.array(times), marks, is_wanted)
    assert (found.wanted == is_wanted).all()
    return "".join("x" if take else "-" for take in found.decode)


def test_nothing_behind_the_last_wanted_of_a_group() -> None:
    assert plan(list(range(9)), "K..K..K..", 1, 6) == "xx----x--"


def test_nothing_wanted_nothing_decoded() -> None:
    assert plan(list(range(6)), "K..K..") == "------"


def test_file_order_counts_not_display_order() -> None:
    # I P B B: the second to be shown is the third in the file, and needs the P before it.
    assert plan([0, 3, 1, 2, 4, 7, 5, 6], "K...K...", 2) == "xxx-----"


def test_an_open_group_needs_the_one_before_it_whole() -> None:
    # Frames 2 and 3 follow the keyframe 4 in the file but refer back to frame 1.
    assert plan([0, 1, 4, 2, 3, 5], "K.K...", 3) == "xxxx--"
    assert plan([0, 1, 4, 2, 3, 5], "K.K...", 0) == "x-----"


def test_without_a_first_keyframe_everything_is_decoded() -> None:
    assert plan(list(range(4)), ".K..", 2) == "xxxx"
    assert plan(list(range(3)), "...", 0) == "xxx"
    assert plan([], "") == ""
