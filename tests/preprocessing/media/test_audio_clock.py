"""Sound stands where its time stamp says: gaps, overlaps, jitter, damage and false stamps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from affectstream.preprocessing.media.audio.audio_clock import AudioPackets, AudioTimeline
from affectstream.preprocessing.media.media_file import MediaFile
from tests import ROOT
from tests.support.factories import clicks, tone, write_media, write_sound

RATE_HZ = 16_000
LOSSLESS = ("pcm_s16le", "flac")
CASES = ROOT.parent / "shared/cases"


def remuxed(path: Path, out: Path, change: Callable[[Any, float], bool]) -> Path:
    """Copies packets of sound to another file; `change` may alter one, and says whether it stays.

    `change` is given each packet and its start in seconds.
    """
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.audio[0]
        copy = target.add_stream_from_template(stream)
        packet: Any
        for packet in source.demux(stream):
            if not packet.size:
                continue
            if out.suffix == ".mkv":  # holds no such stamps, but they must ascend
                packet.dts = packet.pts - round(2 / packet.time_base)
            if change(packet, float(packet.pts * packet.time_base)):
                packet.stream = copy
                target.mux(packet)
    return out


def read(path: Path, *bounds_s: tuple[float, float]) -> list[np.ndarray | None]:
    with MediaFile(path) as media:
        bounds = list(bounds_s) or [(0.0, media.info.duration_s)]
        return [tracks.waveform for tracks in media.segments(bounds, RATE_HZ, None)]


def whole(path: Path) -> np.ndarray:
    (wave,) = read(path)
    assert wave is not None
    return wave


def onsets_s(wave: np.ndarray) -> list[float]:
    """When the sound rises after at least a tenth of a second of silence."""
    loud = np.flatnonzero(np.abs(wave) > 0.2)
    first = np.concatenate([[True], np.diff(loud) > RATE_HZ // 10])
    return [round(float(at), 3) for at in loud[first] / RATE_HZ]


def assert_one_pass_equals_direct_reads(path: Path, atol: float = 0.0) -> None:
    with MediaFile(path) as media:
        edges = np.linspace(0.0, media.info.duration_s, 9)
    bounds = list(itertools.pairwise(float(edge) for edge in edges))
    for span, ours in zip(bounds, read(path, *bounds), strict=True):
        (direct,) = read(path, span)
        assert (ours is None) == (direct is None)
        if ours is not None and direct is not None:
            assert len(ours) == len(direct), span
            np.testing.assert_allclose(ours, direct, atol=atol, err_msg=str(span))


# === Gaps ===


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz", "late_s"),
    [
        (".webm", "libopus", 48_000, 0.0),
        (".mp4", "aac", 48_000, 0.0),
        (".mkv", "aac", 44_100, 0.0),
        # These do not say how many samples the encoder put before the sound.
        (".ts", "aac", 48_000, 1024 / 48_000),
        (".flv", "aac", 44_100, 1024 / 44_100),
        (".mkv", "pcm_s16le", 22_050, 0.0),
        (".mkv", "flac", 16_000, 0.0),
    ],
)
def test_sound_behind_lost_packets_keeps_its_place(
    suffix: str, codec: str, rate_hz: int, late_s: float, tmp_path: Path
) -> None:
    wave = clicks(12.0, rate_hz, [1.0, 6.0, 10.0])
    made = write_media(tmp_path / f"a{suffix}", waveform=wave, rate_hz=rate_hz, audio_codec=codec)
    path = remuxed(made, tmp_path / f"b{suffix}", lambda _, at_s: not 3.0 < at_s < 8.0)
    with MediaFile(path) as media:
        assert media.info.duration_s == pytest.approx(12.0, abs=0.1)
    sound = whole(path)
    assert onsets_s(sound) == pytest.approx([1.0 + late_s, 10.0 + late_s], abs=0.003)
    assert_one_pass_equals_direct_reads(path, 0.0 if codec in LOSSLESS else 2e-3)
    inside, behind = read(path, (4.0, 7.0), (9.5, 10.5))
    assert inside is not None and behind is not None
    assert len(inside) == 3 * RATE_HZ
    assert not inside.any()
    assert onsets_s(behind)[0] == pytest.approx(0.5 + late_s, abs=0.003)


def test_a_short_gap_is_one_too(tmp_path: Path) -> None:
    made = write_media(tmp_path / "a.mkv", waveform=clicks(4.0, 48_000, [3.0]))
    path = remuxed(made, tmp_path / "b.mkv", lambda _, at_s: not 1.0 < at_s < 1.09)
    assert onsets_s(whole(path)) == pytest.approx([3.0], abs=0.002)


@pytest.mark.parametrize("name", ["gap.webm", "gap.mp4", "dtx.webm"])
def test_the_recordings_that_told_of_it(name: str) -> None:
    path = CASES / "01-sound-gap" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    assert onsets_s(whole(path))[-1] == pytest.approx(10.0, abs=0.03)
    assert_one_pass_equals_direct_reads(path, 1e-3)


# === Jitter and overlaps ===


def test_jitter_changes_nothing(tmp_path: Path) -> None:
    made = write_media(tmp_path / "a.mkv", waveform=tone(6.0, 48_000))
    rng = np.random.default_rng(0)

    def shake(packet: Any, _: float) -> bool:
        packet.pts = packet.pts + int(rng.integers(-8, 9))
        return True

    path = remuxed(made, tmp_path / "b.mkv", shake)
    ours, theirs = whole(path), whole(made)
    length = min(len(ours), len(theirs)) - 800
    best = min(
        float(np.abs(ours[800 + shift : length + shift] - theirs[800:length]).max())
        for shift in range(-300, 301)
    )
    assert best < 0.02, "the tone goes on unbroken"
    assert_one_pass_equals_direct_reads(path, 5e-3)


def test_an_overlap_keeps_the_earlier_sound_and_the_later_place(tmp_path: Path) -> None:
    wave = clicks(10.0, 48_000, [1.0, 5.2, 8.0])
    made = write_media(tmp_path / "a.mkv", waveform=wave)

    def earlier(packet: Any, at_s: float) -> bool:
        if at_s > 5.0:
            packet.pts = packet.pts - 1000
        return True

    path = remuxed(made, tmp_path / "b.mkv", earlier)
    assert onsets_s(whole(path)) == pytest.approx([1.0, 7.0], abs=0.003)


# === What cannot be decoded ===


def test_undecodable_packets_leave_a_gap_of_their_length(tmp_path: Path) -> None:
    made = write_media(tmp_path / "a.mp4", waveform=clicks(8.0, 48_000, [1.0, 7.0]))

    def spoil(packet: Any, at_s: float) -> bool:
        if 2.0 < at_s < 6.0 and int(at_s * 10) % 2:
            packet.update(b"\xff" * packet.size)
        return True

    path = remuxed(made, tmp_path / "b.mp4", spoil)
    assert onsets_s(whole(path))[-1] == pytest.approx(7.0, abs=0.002)


@pytest.mark.parametrize("fill", ["zeros", "noise"])
@pytest.mark.parametrize(
    ("name", "codec", "tolerance_s"),
    [("x.flac", "flac", 1e-3), ("x.mp3", "libmp3lame", 0.05), ("x.ac3", "ac3", 0.05)],
)
def test_sound_behind_spoiled_bytes_keeps_its_place(
    name: str, codec: str, tolerance_s: float, fill: str, tmp_path: Path
) -> None:
    wave = clicks(10.0, 48_000, [1.0, 9.0]) + tone(10.0, 48_000, peak=0.05)
    path = write_media(tmp_path / name, waveform=wave, audio_codec=codec)
    data = bytearray(path.read_bytes())
    first, last = len(data) * 4 // 10, len(data) * 7 // 10
    data[first:last] = (
        bytes(last - first) if fill == "zeros" else np.random.default_rng(3).bytes(last - first)
    )
    path.write_bytes(bytes(data))
    behind = whole(path)[round(8.5 * RATE_HZ) :]
    assert onsets_s(behind)[0] == pytest.approx(0.5, abs=tolerance_s)


# === False stamps ===


def clock(
    stamps_s: list[float | None],
    restarts: bool = False,
    header_duration_s: float = 0.0,
    frame_s: float = 0.02,
    tick_s: float = 1e-3,
) -> AudioTimeline:
    """Packets of 20 ms."""
    return AudioTimeline(
        AudioPackets(
            [None if at_s is None else round(at_s / tick_s) for at_s in stamps_s],
            [round(0.02 / tick_s)] * len(stamps_s),
            [100] * len(stamps_s),
            [0] * len(stamps_s),
            tick_s=tick_s,
            zero_s=0.0,
            frame_s=frame_s,
            restarts=restarts,
            header_duration_s=header_duration_s,
        )
    )


def steady(count: int, start_s: float = 0.0) -> list[Any]:
    return [start_s + 0.02 * number for number in range(count)]


@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0, 30 * 3600.0])
@pytest.mark.parametrize("num_wrong", [1, 3])
def test_stamps_of_another_hour_are_not_believed(wrong_s: float, num_wrong: int) -> None:
    stamps = steady(200)
    for number in range(100, 100 + num_wrong):
        stamps[number] += wrong_s
    found = clock(stamps)
    assert found.end_s == pytest.approx(4.0)
    kept = [number for number in range(200) if not 100 <= number < 100 + num_wrong]
    np.testing.assert_allclose(found.starts_s[kept], np.array(steady(200))[kept], atol=1e-9)


def test_a_last_stamp_beyond_the_stated_length_is_not_believed() -> None:
    stamps = [*steady(199), 3600.0]
    assert clock(stamps, header_duration_s=4.0).end_s == pytest.approx(4.0)
    assert clock(stamps).end_s == pytest.approx(3600.02)


def test_a_pause_of_any_length_is_believed() -> None:
    found = clock([*steady(100), *steady(100, 600.0)], header_duration_s=602.0)
    assert found.starts_s[[99, 100, 199]] == pytest.approx([1.98, 600.0, 601.98])


def test_a_clock_that_restarts_goes_on_by_counting() -> None:
    joined = [*steady(100), *steady(100)]
    assert clock(joined, restarts=True).starts_s[-1] == pytest.approx(3.98)
    assert clock(joined).end_s == pytest.approx(2.0)


def test_packets_without_stamps_are_counted() -> None:
    stamps = steady(100)
    stamps[30:60] = [None] * 30
    np.testing.assert_allclose(clock(stamps).starts_s, steady(100), atol=1e-9)
    assert not clock([None] * 5).has_stamps
    assert clock([]).end_s == 0.0


def test_a_drifting_clock_is_followed_in_few_steps() -> None:
    """Of 100 ppm over an hour, as of two crystals: seven steps of 50 ms, never further away."""
    stamps = [at_s * 1.0001 for at_s in steady(180_000)]
    found = clock(stamps)
    away_s = found.starts_s - np.array(stamps)
    assert np.abs(away_s).max() <= 0.0511
    gaps_s = np.diff(found.starts_s) - 0.02
    assert int((gaps_s > 0.01).sum()) == 7
    assert np.abs(gaps_s[np.abs(gaps_s) < 0.01]).max() < 1e-6


def test_a_false_stamp_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    made = write_media(tmp_path / "a.mkv", waveform=clicks(4.0, 48_000, [1.0, 3.0]))

    def spoil(packet: Any, at_s: float) -> bool:
        if 2.0 <= at_s < 2.02:
            packet.pts = packet.pts + 7_200_000
        return True

    path = remuxed(made, tmp_path / "b.mkv", spoil)
    with MediaFile(path) as media:
        assert media.info.duration_s < 4.2
    assert onsets_s(whole(path)) == pytest.approx([1.0, 3.0], abs=0.003)


def test_a_rate_that_does_not_divide_reads_the_same_from_anywhere(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8 * 44_100).astype(np.float32)
    path = write_sound(tmp_path / "x.wav", noise, 44_100)
    assert_one_pass_equals_direct_reads(path)
