"""What is drawn of a recording: exact values, each moment once, whatever the windows."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import cv2
import librosa
import numpy as np
import pytest

from affectstream.server.analysis import visual_preview
from tests.support.factories import clicks, tone

RATE_HZ = 16_000


def levels(event: dict[str, Any]) -> np.ndarray:
    """(rows, columns) uint8 of a sound event."""
    drawn = event["spectrogram"]
    values = np.frombuffer(base64.b64decode(drawn["values"]), np.uint8)
    return values.reshape(drawn["columns"], drawn["rows"]).T


# === Envelope ===


def test_the_envelope_of_a_sine() -> None:
    # 50 Hz: each point sees one whole period.
    points = visual_preview.envelope(tone(1.0, RATE_HZ, hz=50.0, peak=0.25), RATE_HZ)
    assert points.shape == (50, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, np.tile([-0.25, 0.25], (50, 1)), atol=1e-6)


def test_the_envelope_shows_when() -> None:
    points = visual_preview.envelope(clicks(1.0, RATE_HZ, [0.5]), RATE_HZ)
    assert np.flatnonzero(points[:, 1] > 0.5).tolist() == [25]


@pytest.mark.parametrize(("num_samples", "num_points"), [(0, 0), (1, 1), (320, 1), (321, 2)])
def test_a_short_end_has_a_point(num_samples: int, num_points: int) -> None:
    assert len(visual_preview.envelope(np.ones(num_samples, np.float32), RATE_HZ)) == num_points


# === Spectrogram ===


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_the_filters_are_those_of_librosa(rate_hz: int) -> None:
    filters = visual_preview.mel_filters(rate_hz)
    expected = librosa.filters.mel(
        sr=rate_hz,
        n_fft=2 * (filters.shape[1] - 1),
        n_mels=64,
        fmax=min(8000, rate_hz / 2),
        htk=True,
        norm=None,
    )
    np.testing.assert_allclose(filters, expected, atol=1e-5)
    assert (filters.max(axis=1) > 0.3).all()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("peak_db", [0.0, -40.0])
def test_a_sine_in_the_middle_of_a_row_has_its_level(rate_hz: int, peak_db: float) -> None:
    filters = visual_preview.mel_filters(rate_hz)
    row = 50
    hz = float(filters[row].argmax() * rate_hz / (2 * (filters.shape[1] - 1)))
    drawn = visual_preview.spectrogram(tone(1.0, rate_hz, hz, 10 ** (peak_db / 20)), rate_hz)
    assert drawn.shape == (64, 25)
    assert drawn.dtype == np.uint8
    assert (drawn.argmax(axis=0) == row).all()
    # Its power is spread over the triangle: up to 1.5 dB under the level, 3.2 steps a dB.
    level = (peak_db + 80) * 255 / 80
    assert ((level - 5 <= drawn[row]) & (drawn[row] <= level)).all()
    assert (drawn[:30] <= max(level - 40 * 255 / 80, 0)).all()


def test_silence_is_dark_and_the_range_is_fixed() -> None:
    assert not visual_preview.spectrogram(np.zeros(RATE_HZ, np.float32), RATE_HZ).any()
    quiet, loud = (
        visual_preview.spectrogram(tone(0.04, hz=2000, peak=p), RATE_HZ) for p in (0.05, 0.5)
    )
    assert int(loud.max()) - int(quiet.max()) == pytest.approx(20 * 255 / 80, abs=1)


def test_no_sound_no_columns() -> None:
    assert visual_preview.spectrogram(np.zeros(0, np.float32), RATE_HZ).shape == (64, 0)


# === Each moment once ===


@pytest.mark.parametrize("rate_hz", [16_000, 11_025, 16_037])
@pytest.mark.parametrize(("window_s", "hop_s"), [(3.0, 1.5), (1.0, 1.0), (0.7, 0.13)])
def test_overlapping_windows_are_drawn_once(rate_hz: int, window_s: float, hop_s: float) -> None:
    duration_s = 7.23
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, round(duration_s * rate_hz))
    wave = wave.astype(np.float32)
    starts = [k * hop_s for k in range(int((duration_s - window_s) / hop_s) + 1)]
    drawing = visual_preview.SoundPreview(rate_hz)
    events = []
    for start_s in [*starts, duration_s - window_s]:
        end_s = start_s + window_s
        part = wave[round(start_s * rate_hz) : round(end_s * rate_hz)]
        events.append(drawing.feed(start_s, end_s, part))
    events = [event for event in (*events, drawing.finish()) if event]
    assert events[0]["start_s"] == 0
    assert events[-1]["end_s"] == pytest.approx(duration_s, abs=1e-3)
    for before, after in itertools.pairwise(events):
        assert after["start_s"] == pytest.approx(before["end_s"], abs=2e-3)
        assert round(after["start_s"] * 25, 1) % 1 == 0
    drawn = np.concatenate([levels(event) for event in events], axis=1)
    points = np.concatenate([event["envelope"] for event in events])
    assert drawn.shape == (64, 181)
    assert len(points) == 362
    if rate_hz % 50 == 0:
        np.testing.assert_array_equal(drawn, visual_preview.spectrogram(wave, rate_hz))
        np.testing.assert_allclose(points, visual_preview.envelope(wave, rate_hz), atol=6e-4)


def test_silent_windows_keep_their_place() -> None:
    drawing = visual_preview.SoundPreview(RATE_HZ)
    first = drawing.feed(0.0, 1.0, None)
    second = drawing.feed(0.5, 2.0, tone(1.5))
    assert (first["start_s"], first["end_s"]) == (0.0, 1.0)
    assert (second["start_s"], second["end_s"]) == (1.0, 2.0)
    assert not levels(first).any()
    assert levels(second).max() > 200
    assert drawing.feed(1.5, 2.02, None) == {}
    assert drawing.finish()["end_s"] == pytest.approx(2.02)
    assert drawing.finish() == {}


# === Faces ===


def test_a_crop_in_colour_and_in_grey() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[..., 0], crop[:, 32:, 2] = 200, 250
    for shown in (crop, crop[..., :1]):
        data = base64.b64decode(visual_preview.face_jpeg(shown) or "")
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        if shown.shape[-1] == 3:
            np.testing.assert_allclose(picture[32, 5, ::-1], [200, 0, 0], atol=6)
            np.testing.assert_allclose(picture[32, 60, ::-1], [200, 0, 250], atol=6)
        else:
            assert picture.shape == (64, 64)
            np.testing.assert_allclose(picture, 200, atol=2)


def test_numbers_are_no_picture() -> None:
    assert visual_preview.face_jpeg(np.zeros(52, np.float32)) is None
