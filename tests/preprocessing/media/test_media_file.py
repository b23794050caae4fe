"""Decoding: the wanted frames to the bit, sound at its place and level, whatever the format."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import librosa
import numpy as np
import pytest
import soundfile

from affectstream.core.errors import MediaError
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.faces.face_finder import FaceFinder
from affectstream.preprocessing.media.containers import FORMATS as READ_FORMATS
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.media_reader import MediaSegment
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.records.clip_checks import segment_bounds
from tests.support.factories import (
    clicks,
    clip,
    number_of,
    numbered_image,
    textured_image,
    tone,
    write_media,
    write_sound,
)

RATE_HZ = 16_000
NUM_FRAMES, FPS = 100, 25
X264 = {"preset": "ultrafast"}


def read(
    path: Path,
    *bounds_s: tuple[float, float],
    sampling: FrameSampling | None = None,
    rate_hz: int = RATE_HZ,
) -> list[MediaSegment]:
    """Decodes stretches of a freshly opened file; the whole of it when none is named."""
    with MediaFile(path) as media:
        bounds = list(bounds_s) or [(0.0, media.info.duration_s)]
        return list(media.segments(bounds, rate_hz, sampling))


def whole(path: Path, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(samples,) of all sound."""
    (tracks,) = read(path, rate_hz=rate_hz)
    assert tracks.waveform is not None
    return tracks.waveform


def onset_s(waveform: np.ndarray | None, after_s: float = 0.0, rate_hz: int = RATE_HZ) -> float:
    """When the sound first rises behind a moment."""
    assert waveform is not None
    first = round(after_s * rate_hz)
    return float(first + np.flatnonzero(np.abs(waveform[first:]) > 0.2)[0]) / rate_hz


def decode_all(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Every frame of a file, RGB, and its time, by the plainest means."""
    with av.open(str(path)) as container:
        zero_s = (container.start_time or 0) / av.time_base
        frames = list(container.decode(video=0))
        times_s = [float(frame.time or 0.0) - zero_s for frame in frames]
        return [frame.to_ndarray(format="rgb24") for frame in frames], times_s


# === Frames: equal to decoding everything ===

FORMATS: dict[str, dict[str, Any]] = {
    "h264 with B-frames.mp4": {"options": {"bf": "3", "g": "25", "preset": "fast"}},
    "h264 open groups.mp4": {
        "options": {
            "preset": "fast",
            "x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:b-adapt=0:scenecut=0",
        }
    },
    "h264 pyramid.mkv": {
        "options": {"x264-params": "b-pyramid=normal:keyint=30:bframes=5:b-adapt=0"}
    },
    "h264 without B-frames.mov": {"options": {"bf": "0", "g": "12"}},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {
            "preset": "ultrafast",
            "x265-params": "log-level=none:keyint=24:bframes=4:open-gop=1",
        },
    },
    "mpeg4 without stamps.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "20"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}, "audio_codec": "mp2"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "vp9 with hidden frames.webm": {
        "codec": "libvpx-vp9",
        "options": {"cpu-used": "8", "deadline": "good", "g": "50", "lag-in-frames": "16"},
        "audio_codec": "libopus",
    },
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"cpu-used": "8", "g": "30", "lag-in-frames": "16"},
        "audio_codec": "libopus",
    },
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "30"}},
    "ffv1.mkv": {"codec": "ffv1"},
}
SAMPLINGS: dict[str, tuple[FrameSampling, list[tuple[float, float]]]] = {
    "evenly": (FrameSampling("time", 16), [(0.0, 4.0)]),
    "every third": (FrameSampling("every-third"), [(0.0, 4.0)]),
    "stretches": (FrameSampling("time", 5), [(0.0, 1.3), (1.3, 2.6), (2.6, 4.0)]),
    "far in": (FrameSampling("time", 4), [(2.9, 3.3)]),
    "one frame": (FrameSampling("time", 1), [(3.0, 3.2)]),
}


def assert_equals_full_decode(
    path: Path,
    sampling: FrameSampling,
    bounds_s: list[tuple[float, float]],
    full: tuple[list[np.ndarray], list[float]],
) -> list[MediaSegment]:
    frames, times_s = full
    wanted = sampling.choose(np.array(times_s), bounds_s)
    found = read(path, *bounds_s, sampling=sampling)
    for indices, tracks in zip(wanted, found, strict=True):
        np.testing.assert_allclose(tracks.frame_times_s, np.array(times_s)[indices], atol=1e-6)
        for index, frame in zip(indices, tracks.frames, strict=True):
            np.testing.assert_array_equal(frame, frames[index])
    return found


@contextlib.contextmanager
def same_priority() -> Iterator[None]:
    """Takes back what SVT-AV1 does as root: it makes the thread that calls it a real-time one.

    Whatever that thread starts later, a browser say, would be one too and starve all others.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@pytest.fixture(scope="module", params=list(FORMATS))
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / request.param.replace(" ", "-")
    pictures = [textured_image(number) for number in range(NUM_FRAMES)]
    with same_priority():
        return write_media(path, pictures, waveform=tone(4.0, 48_000), **FORMATS[request.param])


def test_making_the_videos_leaves_the_priority_alone(video: Path) -> None:
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("name", SAMPLINGS)
def test_wanted_frames_equal_a_full_decode(video: Path, name: str) -> None:
    sampling, bounds_s = SAMPLINGS[name]
    found = assert_equals_full_decode(video, sampling, bounds_s, decode_all(video))
    numbers = [number_of(frame) for tracks in found for frame in tracks.frames]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == {"every third": 27, "one frame": 1, "stretches": 15}.get(
        name, sampling.num_frames
    )


def test_sound_comes_with_the_frames(video: Path) -> None:
    found = read(video, (0.0, 2.0), (2.0, 3.0), sampling=FrameSampling("time", 2))
    for tracks, length in zip(found, (32_000, 16_000), strict=True):
        assert tracks.waveform is not None
        assert len(tracks.waveform) == length
        inside = tracks.waveform[2_000:]
        assert np.sqrt(np.mean(inside**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


REAL_CLIPS = (
    "01-01-08-02-01-01-19.mp4",
    "fer_test.mp4",
    "pyfeat_face_noface.mov",
    "pyfeat_no_face.mp4",
    "pyfeat_single_face.mp4",
)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_equal_a_full_decode(name: str, real_data: Path) -> None:
    path = real_data / "clips" / name
    with MediaFile(path) as media:
        length_s = media.info.duration_s
    whole_s, halves_s = [(0.0, length_s)], [(0.0, length_s / 2), (length_s / 2, length_s)]
    full = decode_all(path)
    for sampling, bounds_s in (
        (FrameSampling("time", 16), whole_s),
        (FrameSampling("every-third"), halves_s),
        (FrameSampling("time", 3), [(length_s * 0.7, length_s * 0.8)]),
    ):
        assert_equals_full_decode(path, sampling, bounds_s, full)


# === Frames: times ===


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate(suffix: str, tmp_path: Path) -> None:
    steps_s = np.random.default_rng(1).choice([0.02, 0.04, 0.2, 0.5], 60)
    times_s = np.round(np.cumsum(steps_s) - steps_s[0], 3)
    path = write_media(
        tmp_path / f"x{suffix}",
        [numbered_image(n) for n in range(60)],
        times_s.tolist(),
        options=X264,
    )
    (tracks,) = read(path, (0.0, 8.0), sampling=FrameSampling("time", 16))
    moments_s = (np.arange(16) + 0.5) / 2
    on_show = np.unique(np.searchsorted(times_s, moments_s, side="right") - 1)
    assert [number_of(frame) for frame in tracks.frames] == on_show.tolist()
    np.testing.assert_allclose(tracks.frame_times_s, times_s[on_show], atol=1e-3)


def test_pictures_that_begin_after_the_sound(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.mkv",
        [numbered_image(n) for n in range(50)],
        [0.7 + n / FPS for n in range(50)],
        options=X264,
        waveform=clicks(3.0, 48_000, [1.0]),
    )
    (tracks,) = read(path, sampling=FrameSampling("time", 4))
    assert onset_s(tracks.waveform) == pytest.approx(1.0, abs=0.002)
    assert tracks.frame_times_s[0] == pytest.approx(0.7, abs=0.002)
    numbers = [number_of(frame) for frame in tracks.frames]
    np.testing.assert_allclose(tracks.frame_times_s, 0.7 + np.array(numbers) / FPS, atol=0.002)


def test_sound_that_begins_after_the_pictures(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.mp4",
        [numbered_image(n) for n in range(NUM_FRAMES)],
        options=X264,
        waveform=clicks(2.0, 48_000, [1.0]),
        audio_start_s=0.5,
    )
    (tracks,) = read(path, sampling=FrameSampling("time", 4))
    assert onset_s(tracks.waveform) == pytest.approx(1.5, abs=0.002)
    assert [number_of(frame) for frame in tracks.frames] == [12, 37, 62, 87]
    (silent,) = read(path, (3.2, 3.8), sampling=FrameSampling("time", 1))
    assert silent.waveform is None
    assert len(silent.frames) == 1


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    """A trimmed clip keeps its frames back to the keyframe, and says not to show them."""
    path = write_media(
        tmp_path / "x.mp4",
        [numbered_image(n) for n in range(60)],
        [(n - 5) / FPS for n in range(60)],
        options={**X264, "g": "30"},
        container_options={"avoid_negative_ts": "disabled"},
    )
    with av.open(str(path)) as container:
        assert sum(packet.is_discard for packet in container.demux(video=0)) == 5
    full = decode_all(path)
    assert [number_of(frame) for frame in full[0]] == list(range(5, 60))
    with MediaFile(path) as media:
        assert media.info.num_frames == 55
    for sampling in (FrameSampling("time", 11), FrameSampling("every-third")):
        assert_equals_full_decode(path, sampling, [(0.0, 2.2)], full)


# === Frames: rotation ===


def corner() -> np.ndarray:
    """A dark picture, wider than high, light in its upper left corner."""
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[:24, :24] = 230
    return picture


def light_corner(picture: np.ndarray) -> tuple[bool, bool]:
    """(whether below, whether to the right) of the light corner."""
    light = np.argwhere(picture.reshape(*picture.shape[:2], -1)[..., 0] > 127).mean(axis=0)
    return bool(light[0] > picture.shape[0] / 2), bool(light[1] > picture.shape[1] / 2)


# Degrees counterclockwise, the matrix a b c d that ISO 14496-12 stores for it, and whether the
# light goes below and to the right.
ROTATIONS = [
    (0, (1, 0, 0, 1), (False, False)),
    (90, (0, -1, 1, 0), (True, False)),
    (180, (-1, 0, 0, -1), (True, True)),
    (-90, (0, 1, -1, 0), (False, True)),
]


@pytest.mark.parametrize(("degrees", "matrix", "light"), ROTATIONS)
def test_rotation_is_honoured(
    degrees: int, matrix: tuple[int, ...], light: tuple[bool, bool], tmp_path: Path
) -> None:
    path = write_media(tmp_path / "x.mp4", [corner()] * 5, options=X264, rotation=degrees)
    data = path.read_bytes()
    stored = struct.unpack(">9i", data[data.index(b"tkhd") + 44 :][:36])
    assert tuple(value >> 16 for value in (*stored[:2], *stored[3:5])) == matrix
    (tracks,) = read(path, sampling=FrameSampling("time", 1))
    picture = tracks.frames[0]
    assert picture.shape == ((96, 64, 3) if degrees in (90, -90) else (64, 96, 3))
    assert light_corner(picture) == light


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_crops_are_upright_too(color: Any, tmp_path: Path) -> None:
    path = write_media(tmp_path / "x.mp4", [corner()] * 3, options=X264, rotation=-90)
    finder = FaceFinder(None, CropFormat(32, color))
    with MediaFile(path) as media:
        (tracks,) = media.segments(
            [(0.0, 0.1)], RATE_HZ, FrameSampling("time", 1), finder.detect_frame
        )
    (face,) = tracks.frames[0].faces
    assert (face.box.x, face.box.y, face.box.width) == (0, 16, 64)
    assert face.crop.shape[-1] == (3 if color == "rgb" else 1)
    assert face.crop[2, -3, 0] > 127 > face.crop[-3, 2, 0]


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv444p", "yuvj420p", "yuv422p10le", "gray", "bgr0"]
)
def test_brightness_is_the_same_in_every_pixel_format(pixels: str, tmp_path: Path) -> None:
    """The grey crop is read from the frame where it lies; the slow way through RGB must agree."""
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 64, 3))
    codec = "mjpeg" if pixels == "yuvj420p" else "ffv1"
    path = write_media(tmp_path / "x.mkv", [np.ascontiguousarray(ramp)], codec=codec, pixels=pixels)
    finder = FaceFinder(None, CropFormat(64, "grey"))
    with MediaFile(path) as media:
        (tracks,) = media.segments(
            [(0.0, 0.04)], RATE_HZ, FrameSampling("time", 1), finder.detect_frame
        )
    (face,) = tracks.frames[0].faces
    difference = face.crop[..., 0].astype(int) - ramp[..., 0]
    assert np.abs(difference).max() <= (6 if codec == "mjpeg" else 2)


# === Sound: place and level ===


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "tolerance_s"),
    [
        ("x.mp4", "aac", 48_000, 2e-4),
        ("x.m4a", "aac", 44_100, 2e-4),
        ("x.mkv", "aac", 48_000, 2e-3),
        ("x.mp3", "libmp3lame", 44_100, 2e-4),
        ("x.ogg", "libopus", 48_000, 2e-4),
        ("x.flac", "flac", 44_100, 1e-4),
        ("x.aiff", "pcm_s16be", 22_050, 1e-4),
        ("x.wav", "pcm_s16le", 8_000, 2e-4),
    ],
)
def test_a_click_is_where_it_was(
    name: str, codec: str, rate_hz: int, tolerance_s: float, tmp_path: Path
) -> None:
    wave = clicks(6.0, rate_hz, [0.5, 2.25, 5.0])
    path = write_media(tmp_path / name, waveform=wave, rate_hz=rate_hz, audio_codec=codec)
    found = whole(path)
    for at_s in (0.5, 2.25, 5.0):
        assert onset_s(found, at_s - 0.2) == pytest.approx(at_s, abs=tolerance_s)
    assert np.abs(found).max() == pytest.approx(0.8, abs=0.05)
    far = read(path, (4.7, 5.5))[0].waveform
    assert far is not None
    assert len(far) == 12_800
    assert onset_s(far) + 4.7 == pytest.approx(5.0, abs=tolerance_s)


def test_start_far_in_equals_a_cut_of_the_whole(tmp_path: Path) -> None:
    pictures = [numbered_image(n % 256) for n in range(500)]
    noise = np.random.default_rng(0).uniform(-1, 1, 20 * 48_000)
    dull = (4 * np.convolve(noise, np.hanning(100) / 50, "same")).astype(np.float32)
    path = write_media(tmp_path / "x.mp4", pictures, waveform=dull, options={**X264, "g": "50"})
    sampling = FrameSampling("time", 8)
    before, full, _ = read(path, (0.0, 13.0), (13.0, 17.0), (17.0, 20.0), sampling=sampling)
    (cut,) = read(path, (13.0, 17.0), sampling=sampling)
    assert len(before.frames) == 8
    np.testing.assert_array_equal(cut.frame_times_s, full.frame_times_s)
    for ours, theirs in zip(cut.frames, full.frames, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert cut.waveform is not None
    assert full.waveform is not None
    assert len(cut.waveform) == len(full.waveform) == 64_000
    assert np.corrcoef(cut.waveform, full.waveform)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3"])
def test_stretches_cover_a_long_file_without_gap_or_overlap(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 23 * 44_100).astype(np.float32)
    path = tmp_path / name
    if name == "x.mp3":
        write_media(path, waveform=noise, rate_hz=44_100, audio_codec="libmp3lame")
    else:
        write_sound(path, noise, 44_100)
    with MediaFile(path) as media:
        bounds = segment_bounds(clip(path), media.info.duration_s, max_clip_s=4.0)
    assert len(bounds) == 6
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    pieces = [tracks.waveform for tracks in read(path, *bounds)]
    joined = np.concatenate([piece for piece in pieces if piece is not None])
    np.testing.assert_array_equal(joined, whole(path))
    assert max(len(p) for p in pieces if p is not None) <= 4.0 * RATE_HZ


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = tone(1.0, hz=300, peak=0.6), tone(1.0, hz=300, peak=0.2)
    found = whole(write_sound(tmp_path / "x.wav", np.stack([left, right], 1), RATE_HZ, "FLOAT"))
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-6)
    one_sided = np.stack([left, np.zeros_like(left)], 1)
    assert np.abs(
        whole(write_sound(tmp_path / "y.wav", one_sided, RATE_HZ))
    ).max() == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
@pytest.mark.parametrize("num_channels", [6, 9, 16, 64])
def test_more_channels_than_a_frame_has_planes(
    num_channels: int, rate_hz: int, tmp_path: Path
) -> None:
    """Microphone arrays; a mutated file with 37 channels had ended the process that read it."""
    wave = tone(1.0, rate_hz, hz=500, peak=0.6)
    shares = np.linspace(0, 1, num_channels, dtype=np.float32)
    path = write_sound(tmp_path / "x.wav", wave[:, None] * shares, rate_hz, "FLOAT")
    expected = tone(1.0, RATE_HZ, hz=500, peak=0.6) * shares.mean()
    np.testing.assert_allclose(whole(path)[800:-800], expected[800:-800], atol=5e-3)


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-20), ("PCM_32", 1e-6), ("FLOAT", 1e-7)],
)
def test_sound_of_any_sample_format_is_read(subtype: str, step: float, tmp_path: Path) -> None:
    wave = tone(0.5, hz=440, peak=0.7)
    found = whole(write_sound(tmp_path / "x.wav", wave, RATE_HZ, subtype))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wave, atol=step)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_sound_of_any_rate_is_resampled_in_place(rate_hz: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "x.wav", tone(2.0, rate_hz, hz=1000), rate_hz)
    found = whole(path)
    assert len(found) == 2 * RATE_HZ
    np.testing.assert_allclose(found[800:-800], tone(2.0, RATE_HZ, hz=1000)[800:-800], atol=5e-3)


def test_what_lies_above_the_new_rate_does_not_fold_down(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "x.wav", tone(1.0, 96_000, hz=11_000), 96_000)
    assert np.abs(whole(path)[800:-800]).max() < 1e-3


def test_sound_may_change_its_kind_midway(tmp_path: Path) -> None:
    """Joined files: mono goes on as stereo, and at another rate."""
    parts = []
    for number, (channels, rate_hz) in enumerate([(1, 44_100), (2, 44_100), (1, 48_000)]):
        wave = tone(2.0, rate_hz, hz=500)
        part = write_media(
            tmp_path / f"{number}.mp3",
            waveform=wave if channels == 1 else np.stack([wave, wave], 1),
            rate_hz=rate_hz,
            audio_codec="libmp3lame",
            container_options={"write_xing": "0", "id3v2_version": "0"},
        )
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(parts))
    found = whole(joined)
    assert len(found) / RATE_HZ == pytest.approx(6.0, abs=0.3)
    for second in range(1, 6):
        middle = found[second * RATE_HZ - 4000 : second * RATE_HZ + 4000]
        assert np.abs(middle).max() == pytest.approx(0.5, abs=0.1)


def test_a_guessed_duration_is_no_truncation(tmp_path: Path) -> None:
    """Raw AAC states no duration; what is guessed from its quiet beginning is 14 times too long."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 6 * 48_000)
    wave = np.concatenate([np.zeros(4 * 48_000), noise]).astype(np.float32)
    with MediaFile(write_media(tmp_path / "x.aac", waveform=wave)) as media:
        assert media.info.header_duration_s > 20
        assert media.info.duration_s == pytest.approx(10.0, abs=0.1)
        assert not media.info.truncated


@pytest.mark.parametrize("with_sound", [False, True])
def test_a_stream_of_an_unknown_codec_is_not_there(with_sound: bool, tmp_path: Path) -> None:
    """Its context is None, which made an AttributeError of it."""
    pictures = [np.full((48, 64, 3), 90, np.uint8)] * 10
    sound = tone(0.4, 48_000) if with_sound else None
    path = write_media(tmp_path / "odd.mp4", pictures, waveform=sound)
    data = path.read_bytes()
    assert data.count(b"avc1") >= 1
    path.write_bytes(data.replace(b"avc1", b"zzzz"))
    if with_sound:
        with MediaFile(path) as media:
            assert media.info.has_audio and not media.info.has_video
        return
    with pytest.raises(MediaError, match=r"odd\.mp4"):
        MediaFile(path)


def test_a_resampler_that_fails_at_the_end_costs_no_more_than_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged headers name a kind of sound that libswresample refuses, in the end again."""

    class Refusing:
        def __init__(self, **kind: object) -> None:
            pass

        def resample(self, frame: object) -> list[object]:
            raise av.error.ArgumentError(22, "Context has not been initialized")

    monkeypatch.setattr(
        "affectstream.preprocessing.media.audio.audio_reader.av.AudioResampler", Refusing
    )
    path = write_sound(tmp_path / "odd.wav", tone(0.5), RATE_HZ)
    with MediaFile(path) as media, pytest.raises(MediaError, match="nothing in it can be decoded"):
        list(media.segments([(0.0, 0.5)], RATE_HZ, None, lambda frame: frame))


@pytest.mark.parametrize("num_bad", [1, 1000])
def test_frames_that_cannot_be_converted_are_passed_over(num_bad: int, video: Path) -> None:
    """Damaged colour tags that libswscale refuses; the error is an OSError, as of a full disk."""
    seen = []

    def look(frame: av.VideoFrame) -> object:
        seen.append(frame)
        if len(seen) <= num_bad:
            raise av.error.OSError(95, "Operation not supported")
        return frame.pts

    with MediaFile(video) as media:
        (tracks,) = media.segments([(0.0, 2.0)], RATE_HZ, FrameSampling("time", 4), look)
    assert len(seen) == 4
    assert len(tracks.frames) == max(0, 4 - num_bad)
    assert tracks.waveform is not None


def test_an_error_of_the_library_names_the_file(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise av.error.OSError(95, "Operation not supported")

    monkeypatch.setattr("affectstream.preprocessing.media.media_file.AudioReader.flush", fails)
    line = r"^\S+: cannot be decoded \(Operation not supported\); convert or record it again$"
    with MediaFile(video) as media, pytest.raises(MediaError, match=line):
        list(media.segments([(0.0, media.info.duration_s + 1)], RATE_HZ, None))


def test_lines_of_the_library_take_no_lock() -> None:
    """With PyAV's own log a decoder that was being closed waited for ever; one file in 10,000."""
    assert av.logging.get_level() is None


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    picture = av.VideoFrame.from_ndarray(numbered_image(3), format="rgb24")
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        cover: Any = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 128, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(cover.encode(picture) + cover.encode(None))
        container.mux(sound.encode(frame) + sound.encode(None))
    with MediaFile(path) as media:
        assert media.info.has_audio
        assert not media.info.has_video
        (tracks,) = media.segments([(0.0, 1.0)], RATE_HZ, FrameSampling())
        assert tracks.frames == []


@pytest.mark.real
@pytest.mark.parametrize("speaker", ["01", "05", "07", "12", "19", "20"])
def test_original_ravdess_stereo_and_48_khz(speaker: str, real_data: Path) -> None:
    for path in sorted((real_data / f"ravdess_original/Actor_{speaker}").glob("*.wav")):
        wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate_hz == 48_000
        found = whole(path, 48_000)
        np.testing.assert_allclose(found, wave.mean(axis=1), atol=1e-6)
        lowered = librosa.resample(wave.mean(axis=1), orig_sr=48_000, target_sr=16_000)
        ours = whole(path)
        assert abs(len(ours) - len(lowered)) <= 1
        length = min(len(ours), len(lowered))
        assert np.corrcoef(ours[:length], lowered[:length])[0, 1] > 0.999
        assert np.sqrt(np.mean(ours**2)) == pytest.approx(np.sqrt(np.mean(lowered**2)), rel=0.01)


# === One file is one file ===


def playlists(other: str) -> dict[str, str]:
    """Texts that the library would follow to `other`, by the name of their file."""
    segment = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n"
    description = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT2S">'
        '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="a" bandwidth="1">'
        f"<BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
    )
    return {
        "x.m3u8": segment,
        "x.ffconcat": f"ffconcat version 1.0\nfile '{other}'\n",
        "x.mpd": description,
        "x.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=audio 5004 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n",
    }


@pytest.mark.parametrize("name", list(playlists("")))
@pytest.mark.parametrize("elsewhere", ["file", "host", "no suffix"])
def test_what_names_another_file_is_refused(
    name: str, elsewhere: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        listener.settimeout(0.05)
        write_sound(tmp_path / "other.wav", tone(1.0), RATE_HZ)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/other.wav"
        path = tmp_path / (name if elsewhere != "no suffix" else "upload")
        path.write_text(playlists(url if elsewhere == "host" else "other.wav")[name])
        with pytest.raises(MediaError) as refused:
            MediaFile(path, "their.mp4")
        with pytest.raises(TimeoutError):
            listener.accept()
    assert str(refused.value).startswith("their.mp4: not readable as sound or video (")
    assert len(str(refused.value).splitlines()) == 1
    assert capfd.readouterr().err == ""


def test_a_playlist_would_else_be_followed(tmp_path: Path) -> None:
    """The refusal above is ours: the library alone opens the other file."""
    write_sound(tmp_path / "other.wav", tone(1.0), RATE_HZ)
    path = tmp_path / "x.ffconcat"
    path.write_text(playlists("other.wav")["x.ffconcat"])
    with av.open(str(path)) as container:
        assert container.streams.audio
    with pytest.raises(MediaError, match="a playlist, or a format that is not read here"):
        MediaFile(path)


def test_a_name_is_no_protocol_and_no_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`concat:a|b` is two files to the library, `row%d.jpg` a row of pictures."""
    monkeypatch.chdir(tmp_path)
    sound = write_sound(tmp_path / "a.wav", tone(1.0), RATE_HZ)
    odd = tmp_path / "concat:a.wav|a.wav"
    odd.write_bytes(sound.read_bytes())
    with MediaFile("concat:a.wav|a.wav") as media:
        assert media.info.duration_s == pytest.approx(1.0)
    for number, value in enumerate((40, 200)):
        picture = np.full((32, 32, 3), value, np.uint8)
        write_media(tmp_path / f"row{number}.jpg", [picture], codec="mjpeg", pixels="yuvj420p")
    (tmp_path / "row%d.jpg").write_bytes((tmp_path / "row1.jpg").read_bytes())
    (tracks,) = read(tmp_path / "row%d.jpg", sampling=FrameSampling("time", 1))
    assert [frame.mean() > 150 for frame in tracks.frames] == [True]


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.bmp", "x.gif", "x.webp", "x.tiff", "upload"])
def test_a_picture_is_a_short_video(name: str, tmp_path: Path) -> None:
    suffix = Path(name).suffix or ".jpg"
    data = cv2.imencode(suffix, numbered_image(5))[1].tobytes()
    (tmp_path / name).write_bytes(data)
    (tracks,) = read(tmp_path / name, sampling=FrameSampling("time", 1))
    assert [number_of(frame) for frame in tracks.frames] == [5]


def test_the_formats_are_known_to_the_library() -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(READ_FORMATS) <= known
    assert not {"hls", "concat", "dash", "sdp", "rtsp", "lavfi", "v4l2", "imf"} & set(READ_FORMATS)


# === Clips beyond their file ===


def test_stretches_of_equal_length(tmp_path: Path) -> None:
    long = clip(tmp_path / "x.wav")
    assert segment_bounds(long, 10.0, 10.0) == [(0.0, 10.0)]
    assert segment_bounds(long, 10.5, 10.0) == [(0.0, 5.25), (5.25, 10.5)]
    assert segment_bounds(replace(long, start_s=2.0, end_s=99.0), 10.0, 4.0) == [
        (2.0, 6.0),
        (6.0, 10.0),
    ]
    with pytest.raises(MediaError, match="from 12 to 10 s there is nothing"):
        segment_bounds(replace(long, start_s=12.0), 10.0, 10.0)


def test_a_closed_file_is_closed_also_when_it_is_bad(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "x.wav", np.zeros(0, np.float32), 16_000)
    for _ in range(3):
        with pytest.raises(MediaError, match="neither sound nor picture"):
            MediaFile(path, "x.wav")
