"""Windows, what of them counts, and the answer made of theirs; no TensorFlow in it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from affectstream.preprocessing.windowing import (
    WindowSettings,
    pool,
    select_streams,
    slice_audio,
    slice_frames,
    sound_coverage,
    window_bounds,
)

RATE_HZ = 16_000
PLAIN = WindowSettings(3.0, 1.5)


# === Bounds ===


@pytest.mark.parametrize(
    ("duration_s", "bounds"),
    [
        (0.5, [(0, 0.5)]),
        (3.0, [(0, 3.0)]),
        (4.5, [(0, 3), (1.5, 4.5)]),
        (4.6, [(0, 3), (0.8, 3.8), (1.6, 4.6)]),  # not 1.5-4.5 and 1.6-4.6
        (6.0, [(0, 3), (1.5, 4.5), (3, 6)]),
        (9.0, [(0, 3), (1.5, 4.5), (3, 6), (4.5, 7.5), (6, 9)]),
    ],
)
def test_where_windows_lie(duration_s: float, bounds: list[tuple[float, float]]) -> None:
    assert np.allclose(window_bounds(duration_s, PLAIN), bounds)


@pytest.mark.parametrize("duration_s", [0.04, 1.0, 3.0, 3.01, 4.5, 4.51, 7.2, 61.0, 3600.0])
@pytest.mark.parametrize(
    ("window_s", "hop_s"), [(3.0, 1.5), (3.5, 1.5), (1.0, 1.0), (0.2, 0.1), (2.0, 0.7)]
)
def test_windows_cover_the_recording_evenly(
    duration_s: float, window_s: float, hop_s: float
) -> None:
    bounds = window_bounds(duration_s, WindowSettings(window_s, hop_s))
    assert bounds[0][0] == 0.0
    assert bounds[-1][1] == duration_s
    if duration_s <= window_s:
        assert len(bounds) == 1
        return
    steps = [b[0] - a[0] for a, b in itertools.pairwise(bounds)]
    assert max(steps) <= hop_s + 1e-9
    assert max(steps) - min(steps) < 1e-6
    assert all(end_s - start_s == pytest.approx(window_s) for start_s, end_s in bounds)


def test_a_file_is_cut_where_its_record_is() -> None:
    """The record's duration is rounded; half a sample may lie between the two."""
    assert window_bounds(8.00000000000005, PLAIN) == window_bounds(8.0, PLAIN)
    assert window_bounds(9.3 - 2e-7, PLAIN) == window_bounds(9.3, PLAIN)


# === Settings ===


def test_settings_follow_from_the_window_of_the_model() -> None:
    assert WindowSettings.for_window(3.0) == PLAIN
    assert WindowSettings.for_window(1.0) == WindowSettings(1.0, 1.0)


def test_a_model_keeps_its_own() -> None:
    own = WindowSettings(2.0, 0.5, "log-probabilities", 0.1)
    stored = json.loads(json.dumps(own.as_json()))
    assert WindowSettings(**stored) == own
    assert WindowSettings.for_window(2.0) == WindowSettings(2.0)


def test_windows_of_a_user_are_never_longer() -> None:
    assert PLAIN.with_overrides(None, None) is PLAIN
    assert PLAIN.with_overrides(1.0, None) == WindowSettings(1.0, 1.0)
    assert PLAIN.with_overrides(None, 0.5) == WindowSettings(3.0, 0.5)
    assert PLAIN.with_overrides(5.0, 2.0) == WindowSettings(5.0, 2.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((1.0, 2.0), "0 < hop_s <= window_s is needed, received 2, 1"),
        ((1.0, 0.0), "0 < hop_s <= window_s is needed, received 0, 1"),
        ((3.0, 1.5, "median"), "pooling must be one of probabilities, log-probabilities"),
        ((3.0, 1.5, "probabilities", 2.0), r"min_coverage must be in \[0, 1\], received 2"),
    ],
)
def test_settings_out_of_range(settings: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowSettings(*settings)  # type: ignore[arg-type]


# === What a window holds ===


def test_frames_of_a_window() -> None:
    times_s = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert slice_frames(times_s, 0.5, 1.5) == slice(1, 3)  # on show from its beginning
    assert slice_frames(times_s, 0.0, 9.0) == slice(0, 5)
    assert slice_frames(times_s, 1.1, 1.4) == slice(2, 3)  # still on show
    assert slice_frames([0.0], 3.0, 6.0) == slice(0, 1)  # a still picture throughout
    assert slice_frames([2.0], 0.0, 1.0) == slice(0, 0)  # not yet
    assert slice_frames([], 0.0, 1.0) == slice(0, 0)


def test_times_count_as_records_hold_them() -> None:
    moment = 2.3
    assert float(np.float32(moment)) < moment
    for times in ([moment], np.array([moment], np.float32)):
        assert slice_frames(times, 0.0, moment) == slice(0, 1)


def test_sound_of_a_window() -> None:
    wave = np.arange(10, dtype=np.float32)
    assert slice_audio(wave, 4, 0.5, 1.5).tolist() == [2, 3, 4, 5]
    assert slice_audio(wave, 4, 2.0, 9.0).tolist() == [8, 9]
    assert len(slice_audio(wave, 4, 3.0, 9.0)) == 0


def _tone(seconds: float, amplitude: float = 0.1) -> np.ndarray:
    at_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * 440 * at_s)).astype(np.float32)


def test_share_of_sound() -> None:
    second, silence = _tone(1.0), np.zeros(RATE_HZ, np.float32)
    assert sound_coverage(None, RATE_HZ, 3.0) == 0
    assert sound_coverage(np.zeros(0, np.float32), RATE_HZ, 3.0) == 0
    assert sound_coverage(silence, RATE_HZ) == 0
    assert sound_coverage(second, RATE_HZ) == 1
    assert sound_coverage(np.concatenate([second, silence]), RATE_HZ) == 0.5
    assert sound_coverage(second, RATE_HZ, 4.0) == 0.25  # it ends before the window does
    # A jingle of 0.57 s in a window of 3 s: eleven frames, and the 20 ms that are left.
    assert sound_coverage(_tone(0.57), RATE_HZ, 3.0) == pytest.approx(0.19)
    # Frames that hold any sound count whole.
    jingle = np.concatenate([_tone(0.57), np.zeros(RATE_HZ, np.float32)])
    assert sound_coverage(jingle, RATE_HZ, 3.0) == pytest.approx(0.2)


def test_what_is_no_sound() -> None:
    offset = np.full(RATE_HZ, 0.3, np.float32)
    assert sound_coverage(offset, RATE_HZ) == 0
    assert sound_coverage(offset + _tone(1.0, 0.9e-4), RATE_HZ) == 0  # below -80 dB
    assert sound_coverage(offset + _tone(1.0, 1.2e-4), RATE_HZ) == 1


@pytest.mark.parametrize(
    ("coverage", "streams"),
    [
        ({"audio": 0.19, "video": 1.0}, {"video"}),  # a jingle beside a face
        ({"audio": 1.0, "video": 0.2}, {"audio"}),
        ({"audio": 0.25, "video": 0.5}, {"audio", "video"}),
        ({"audio": 0.19, "video": 0.0}, {"audio"}),  # alone it may answer
        ({"audio": 0.19, "video": 0.1}, {"audio", "video"}),  # and where no other covers enough
        ({"audio": 0.0, "video": 0.0}, set()),
        ({"audio": 0.1, "video": 0.0, "text": 1.0}, {"text"}),
    ],
)
def test_which_streams_count(coverage: dict[str, float], streams: set[str]) -> None:
    assert select_streams(coverage, 0.25) == streams


# === The answer ===


def test_windows_are_pooled_by_either_mean() -> None:
    rows = [[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    assert pool(rows, "probabilities") == pytest.approx([1.7 / 3, 1.3 / 3])
    first, second = (0.9 * 0.4 * 0.4) ** (1 / 3), (0.1 * 0.6 * 0.6) ** (1 / 3)
    wanted = [first / (first + second), second / (first + second)]
    assert pool(rows, "log-probabilities") == pytest.approx(wanted)
    assert pool([[1.0, 0.0], [0.5, 0.5]], "log-probabilities").sum() == pytest.approx(1)
    for pooling in ("probabilities", "log-probabilities"):
        assert pool(rows[:1], pooling).tolist() == rows[0]  # one window is the answer


def test_windowing_needs_no_tensorflow() -> None:
    code = (
        "import sys; import affectstream.preprocessing.windowing;"
        " sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
