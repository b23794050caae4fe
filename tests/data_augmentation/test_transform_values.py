"""Each transform of sound and picture gives exact values for fixed parameters."""

from __future__ import annotations

import numpy as np
import pytest

from affectstream.data_augmentation.audio.gain import Gain
from affectstream.data_augmentation.audio.noise import Noise
from affectstream.data_augmentation.audio.pitch_shift import PitchShift
from affectstream.data_augmentation.audio.speed import Speed
from affectstream.data_augmentation.audio.time_shift import TimeShift
from affectstream.data_augmentation.audio.time_stretch import TimeStretch
from affectstream.data_augmentation.image.brightness import Brightness
from affectstream.data_augmentation.image.crop_jitter import CropJitter
from affectstream.data_augmentation.image.cutout import Cutout
from affectstream.data_augmentation.image.downscale import Downscale
from affectstream.data_augmentation.image.flip import Flip
from affectstream.data_augmentation.image.jpeg import Jpeg

RATE_HZ = 16000


def speechlike(seconds: float = 0.5, rate_hz: int = RATE_HZ, peak: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * np.pi * 220 * time_s) * (1 + np.sin(2 * np.pi * 5 * time_s)) / 2
    return (peak * wave).astype(np.float32)


def sine(frequency_hz: float, seconds: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def dominant_hz(waveform: np.ndarray) -> float:
    """Frequency of the largest bin, refined by a spectrum four times as fine."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size), 4 * waveform.size))
    return float(spectrum.argmax() * RATE_HZ / (4 * waveform.size))


def picture(channels: int = 1, num_frames: int = 4) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (num_frames, 20, 24, channels), dtype=np.uint8)


# === Sound: exact values ===


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 40.0])
def test_noise_reaches_its_ratio_and_is_white(snr_db: float) -> None:
    clean = speechlike(seconds=2, peak=0.1)
    noise = Noise().apply(clean, RATE_HZ, snr_db=snr_db, noise_seed=5).astype(np.float64) - clean
    reached_db = 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2))
    assert reached_db == pytest.approx(snr_db, abs=0.01)
    power = np.abs(np.fft.rfft(noise)) ** 2
    quarters_db = 10 * np.log10([part.mean() for part in np.array_split(power, 4)])
    assert np.ptp(quarters_db) < 0.5
    other = Noise().apply(clean, RATE_HZ, snr_db=snr_db, noise_seed=6)
    assert abs(np.corrcoef(noise, other - clean)[0, 1]) < 0.05


def test_gain_multiplies_and_never_clips() -> None:
    clean = speechlike()
    np.testing.assert_allclose(Gain().apply(clean, RATE_HZ, gain_db=-6.0206), clean / 2, rtol=1e-5)
    np.testing.assert_array_equal(Gain().apply(clean, RATE_HZ, gain_db=0.0), clean)
    overdriven = Gain().apply(clean, RATE_HZ, gain_db=30.0)
    np.testing.assert_allclose(overdriven, clean / np.abs(clean).max(), atol=1e-6)


def test_time_shift_moves_exactly() -> None:
    wave = np.arange(1, 6, dtype=np.float32) / 10

    def shifted(samples: int, wrap: bool) -> list[int]:
        moved = TimeShift(wrap=wrap).apply(wave, RATE_HZ, shift_samples=samples)
        return np.rint(moved * 10).astype(int).tolist()

    assert shifted(2, False) == [0, 0, 1, 2, 3]
    assert shifted(-2, False) == [3, 4, 5, 0, 0]
    assert shifted(2, True) == [4, 5, 1, 2, 3]
    assert shifted(-1, True) == [2, 3, 4, 5, 1]
    assert shifted(0, False) == [1, 2, 3, 4, 5]
    assert shifted(9, False) == shifted(-9, False) == [0] * 5
    longest = TimeShift(max_shift_s=60.0)
    drawn = [longest.sample(np.random.default_rng(s), wave, 10)["shift_samples"] for s in range(50)]
    assert set(drawn) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("speed", [1.25, 0.8, 0.937])
def test_speed_shortens_and_raises(speed: float) -> None:
    played = Speed().apply(sine(400), RATE_HZ, speed=speed)
    assert played.size == round(RATE_HZ / speed)
    assert dominant_hz(played) == pytest.approx(400 * speed, abs=0.5)
    middle = played[1000:-1000]
    expected = 0.5 * np.sin(2 * np.pi * 400 * speed * np.arange(played.size) / RATE_HZ)
    np.testing.assert_allclose(middle, expected[1000:-1000], atol=1e-4)


def test_speed_filters_what_would_alias() -> None:
    played = Speed().apply(sine(7000), RATE_HZ, speed=1.5)
    assert np.abs(played[500:-500]).max() < 1e-3


@pytest.mark.parametrize("rate", [1.25, 0.8])
def test_time_stretch_keeps_the_pitch(rate: float) -> None:
    stretched = TimeStretch().apply(sine(400), RATE_HZ, rate=rate)
    assert stretched.size == round(RATE_HZ / rate)
    assert dominant_hz(stretched) == pytest.approx(400, abs=1.0)
    assert np.abs(stretched[2000:-2000]).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("semitones", "factor"), [(12.0, 2.0), (-12.0, 0.5), (1.0, 2 ** (1 / 12))])
def test_pitch_shift_keeps_the_length(semitones: float, factor: float) -> None:
    shifted = PitchShift().apply(sine(440), RATE_HZ, semitones=semitones)
    assert shifted.size == RATE_HZ
    assert dominant_hz(shifted) == pytest.approx(440 * factor, rel=0.005)


# === Picture: exact values ===


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_mirrors_every_frame(channels: int) -> None:
    frames = picture(channels)
    np.testing.assert_array_equal(Flip().apply(frames), frames[:, :, ::-1])


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_jitter_shifts_exactly_and_repeats_the_edge(channels: int) -> None:
    frames = picture(channels)
    moved = CropJitter().apply(frames, zoom=1.0, shift_x_px=3.0, shift_y_px=-2.0)
    columns = np.clip(np.arange(24) - 3, 0, 23)
    rows = np.clip(np.arange(20) + 2, 0, 19)
    np.testing.assert_array_equal(moved, frames[:, rows][:, :, columns])


def test_crop_jitter_zooms_about_the_centre() -> None:
    frames = np.zeros((2, 21, 21, 1), np.uint8)
    frames[:, 8:13, 8:13] = 200  # 5 px wide about pixel 10
    closer = CropJitter().apply(frames, zoom=2.0, shift_x_px=0.0, shift_y_px=0.0)
    assert closer[0, :, :, 0].any(axis=0).sum() == pytest.approx(10, abs=1)
    np.testing.assert_array_equal(closer, closer[:, ::-1, ::-1])
    assert (CropJitter().apply(frames, zoom=0.5, shift_x_px=0.0, shift_y_px=0.0) > 0).sum() < 2 * 16


def test_brightness_and_contrast_by_formula() -> None:
    frames = np.array([0, 100, 127, 128, 250, 255], np.uint8).reshape(1, 2, 3, 1)
    lighter = Brightness().apply(frames, brightness=0.1, contrast=1.0)
    assert lighter.ravel().tolist() == [26, 126, 152, 154, 255, 255]
    harder = Brightness().apply(frames, brightness=0.0, contrast=2.0)
    assert harder.ravel().tolist() == [0, 72, 126, 128, 255, 255]
    np.testing.assert_array_equal(Brightness().apply(frames, brightness=0, contrast=1), frames)


def test_downscale_leaves_what_the_small_picture_holds() -> None:
    frames = np.zeros((2, 8, 8, 1), np.uint8)
    frames[:, :4] = 200
    np.testing.assert_array_equal(Downscale().apply(frames, scale=1.0), frames)
    fine = np.indices((8, 8)).sum(axis=0) % 2 * 200
    blurred = Downscale().apply(fine.astype(np.uint8)[None, :, :, None], scale=0.5)
    assert (blurred == 100).all()
    halves = Downscale().apply(frames, scale=0.5)
    assert (halves[:, :3] == 200).all() and (halves[:, 5:] == 0).all()
    tiny = Downscale().apply(frames, scale=0.01)
    assert (tiny == 100).all()


def test_jpeg_is_worse_the_lower_the_quality() -> None:
    frames = picture(channels=3)
    errors = [
        np.abs(Jpeg().apply(frames, quality=quality).astype(int) - frames).mean()
        for quality in (95, 50, 10)
    ]
    assert errors[0] < errors[1] < errors[2]
    plain = np.full((1, 16, 16, 1), 77, np.uint8)
    np.testing.assert_allclose(Jpeg().apply(plain, quality=30), plain, atol=3)


def test_cutout_hides_one_rectangle_with_the_mean() -> None:
    frames = picture(channels=3)
    covered = Cutout().apply(frames, x_px=5, y_px=2, width_px=4, height_px=6)
    mean = np.rint(frames.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    hidden = np.zeros((20, 24), bool)
    hidden[2:8, 5:9] = True
    assert (covered[:, hidden] == mean).all()
    np.testing.assert_array_equal(covered[:, ~hidden], frames[:, ~hidden])
    outside = Cutout().apply(frames, x_px=-3, y_px=18, width_px=4, height_px=9)
    assert (outside != frames).any(axis=(0, 3)).sum() == 2
