"""The benchmark that chose windows and pooling: what it asks of models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from affectstream.preprocessing.windowing import WindowSettings
from benchmarks.accuracy import windowing
from benchmarks.accuracy.windowing import LabeledWaveform

RATE_HZ = 10


def sound(name: str, num_samples: int, truth: int) -> LabeledWaveform:
    return LabeledWaveform(name, np.arange(1, num_samples + 1, dtype=np.float32), truth)


def test_two_recordings_of_one_class_are_joined_each_once() -> None:
    own = [sound("a", 3, 0), sound("b", 4, 0), sound("c", 5, 1), sound("d", 6, 1), sound("e", 7, 1)]
    made = windowing.joined(own)
    assert [one.truth for one in made] == [0, 1]
    assert len(made[0].waveform) == 7
    assert len(made[1].waveform) in (5 + 6, 5 + 7, 6 + 7)


def test_each_window_is_asked_about_once_and_pooled_by_recording() -> None:
    asked: list[tuple[float, int]] = []

    def answer(waveforms: Sequence[np.ndarray]) -> np.ndarray:
        asked.extend((float(one[0]), len(one)) for one in waveforms)
        first = np.array([one[0] for one in waveforms])
        return np.stack([first / 100, 1 - first / 100], axis=1)

    settings = [WindowSettings(2.0, 1.0), WindowSettings(2.0, 2.0)]
    fine, coarse = windowing.pooled([sound("a", 40, 0)], settings, RATE_HZ, answer)
    assert sorted(asked) == [(1.0, 20), (11.0, 20), (21.0, 20)]
    assert fine[0] == pytest.approx([0.11, 0.89])
    assert coarse[0] == pytest.approx([0.11, 0.89])


@pytest.mark.parametrize(
    ("coverage", "first", "length"), [(0.25, 10, 5), (0.5, 10, 10), (0.75, 5, 15), (1.0, 0, 20)]
)
def test_sound_covers_the_share_that_is_asked(coverage: float, first: int, length: int) -> None:
    window = windowing.partly_silent_window(sound("a", 40, 0), coverage, 2.0, RATE_HZ)
    wanted = np.zeros(20, np.float32)
    wanted[first : first + length] = np.arange(first + 1, first + length + 1)
    assert window.tolist() == wanted.tolist()
