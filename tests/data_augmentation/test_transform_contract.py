"""Every transform of the table keeps the contract of its stream."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from affectstream.core import registry
from affectstream.data_augmentation.audio.bandwidth import Bandwidth
from affectstream.data_augmentation.audio.gain import Gain
from affectstream.data_augmentation.audio.noise import Noise
from affectstream.data_augmentation.audio.pitch_shift import PitchShift
from affectstream.data_augmentation.audio.speed import Speed
from affectstream.data_augmentation.audio.time_shift import TimeShift
from affectstream.data_augmentation.audio.time_stretch import TimeStretch
from affectstream.data_augmentation.chain import Chain
from affectstream.data_augmentation.image.brightness import Brightness
from affectstream.data_augmentation.image.crop_jitter import CropJitter
from affectstream.data_augmentation.image.cutout import Cutout
from affectstream.data_augmentation.mixup import Mixup

RATE_HZ = 16000


def descriptor_names(*streams: str) -> list[str]:
    rows = registry.TABLE["transforms"]
    return [name for name, row in rows.items() if row.stream in streams]


AUDIO, VIDEO, TEXT = descriptor_names("audio"), descriptor_names("video"), descriptor_names("text")
SENTENCE = "I really liked the long walks, and the dogs were happy too!"


def speechlike(seconds: float = 0.5, rate_hz: int = RATE_HZ, peak: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * np.pi * 220 * time_s) * (1 + np.sin(2 * np.pi * 5 * time_s)) / 2
    return (peak * wave).astype(np.float32)


def picture(channels: int = 1, num_frames: int = 4) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (num_frames, 20, 24, channels), dtype=np.uint8)


def signal_of(name: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """A signal of the transform's stream, and what follows it in `sample` and `apply`."""
    return (speechlike(), (RATE_HZ,)) if name in AUDIO else (picture(), ())


# === Contract ===


def test_the_table_holds_every_transform() -> None:
    names = set(registry.names("transforms"))
    audio = {"noise", "speed", "time_stretch", "pitch_shift", "time_shift", "gain", "bandwidth"}
    assert audio == set(AUDIO)
    assert {"flip", "crop_jitter", "brightness", "cutout", "downscale", "jpeg"} == set(VIDEO)
    assert {"word_dropout", "word_swap", "typo"} == set(TEXT)
    assert names - audio - set(VIDEO) - set(TEXT) == {"spec_augment", "vtlp", "mix_style", "mixup"}
    targets = {registry.entry("transforms", name).target.split(":")[0] for name in names}
    assert all(target.startswith("affectstream.data_augmentation.") for target in targets)
    assert all(importlib.util.find_spec(target) for target in targets)


@pytest.mark.parametrize("name", descriptor_names("audio", "video", "text", "batch"))
def test_names_streams_and_probability(name: str) -> None:
    made = registry.load("transforms", name)
    assert (made.name, made.stream) == (name, registry.entry("transforms", name).stream)
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"probability.*{wrong!r}"):
            made(probability=wrong)
    with pytest.raises(AttributeError):
        made().probability = 0.1


@pytest.mark.parametrize("name", AUDIO + VIDEO)
def test_shape_dtype_range_and_purity(name: str) -> None:
    transform, (signal, rate) = registry.load("transforms", name)(), signal_of(name)
    before = signal.copy()
    for seed in range(5):
        parameters = transform.sample(np.random.default_rng(seed), signal, *rate)
        again = transform.sample(np.random.default_rng(seed), signal, *rate)
        assert parameters == again
        result = transform.apply(signal, *rate, **parameters)
        stored = json.loads(json.dumps(parameters, allow_nan=False))
        np.testing.assert_array_equal(result, transform.apply(signal, *rate, **stored))
        assert result.dtype == signal.dtype
        assert result.ndim == signal.ndim
        if name in VIDEO or name not in ("speed", "time_stretch"):
            assert result.shape == signal.shape
        if name in AUDIO:
            assert np.isfinite(result).all()
            assert np.abs(result).max() <= 1.0
        assert not np.array_equal(result, signal)
    np.testing.assert_array_equal(signal, before)


@pytest.mark.parametrize("name", AUDIO + VIDEO)
def test_other_keys_give_other_results_and_probability_decides(name: str) -> None:
    made, (signal, rate) = registry.load("transforms", name), signal_of(name)
    rate_hz = rate[0] if rate else None
    chain = Chain((made(probability=0.5),), seed=1)
    results = [chain(signal, rate_hz, (0, f"clip{number}")) for number in range(12)]
    unchanged = [np.array_equal(result, signal) for result in results]
    assert any(unchanged)
    assert not all(unchanged)
    if name != "flip":  # which has one result only
        changed = {r.tobytes() for r, same in zip(results, unchanged, strict=True) if not same}
        assert len(changed) > 1
    never = Chain((made(probability=0.0),), seed=1)
    assert all(never(signal, rate_hz, (0, f"clip{number}")) is signal for number in range(5))


@pytest.mark.parametrize("name", TEXT)
def test_text_is_changed_purely(name: str) -> None:
    transform = registry.load("transforms", name)()
    results = set()
    for seed in range(10):
        parameters = transform.sample(np.random.default_rng(seed), SENTENCE)
        assert parameters == transform.sample(np.random.default_rng(seed), SENTENCE)
        result = transform.apply(SENTENCE, **parameters)
        stored = json.loads(json.dumps(parameters, allow_nan=False))
        assert result == transform.apply(SENTENCE, **stored) != SENTENCE
        assert result == result.strip()
        assert "  " not in result
        assert result.endswith("!")
        results.add(result)
    assert len(results) > 3
    for nothing in ("", "  "):
        drawn = transform.sample(np.random.default_rng(0), nothing)
        assert transform.apply(nothing, **drawn) is nothing
    with pytest.raises(ValueError, match=f"{name} needs a str, received bytes"):
        transform.apply(b"bytes", **parameters)


@pytest.mark.parametrize("name", TEXT)
def test_probability_decides_for_text(name: str) -> None:
    made = registry.load("transforms", name)
    keys = [(0, f"clip{number}") for number in range(30)]
    half = [Chain((made(probability=0.5),), seed=1)(SENTENCE, None, key) for key in keys]
    assert 5 <= half.count(SENTENCE) <= 25
    assert len(set(half)) > 3
    assert all(Chain((made(probability=0.0),))(SENTENCE, None, key) is SENTENCE for key in keys)


@pytest.mark.parametrize("name", AUDIO)
@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_empty_silent_short_and_loud_sound(name: str, rate_hz: int) -> None:
    transform, rng = registry.load("transforms", name)(), np.random.default_rng(0)

    def run(signal: np.ndarray) -> np.ndarray:
        return transform.apply(signal, rate_hz, **transform.sample(rng, signal, rate_hz))

    assert run(np.zeros(0, np.float32)).shape == (0,)
    assert not run(np.zeros(5000, np.float32)).any()
    for num_samples in (1, 2, 3, 100):
        short = run(np.full(num_samples, 0.5, np.float32))
        assert short.size >= 1
        assert np.isfinite(short).all()
    faint = run(np.full(4000, 1e-30, np.float32))
    assert np.isfinite(faint).all()
    square = np.where(np.arange(8000) % 80 < 40, 1.0, -1.0).astype(np.float32)
    loud = run(square)
    assert np.abs(loud).max() <= 1.0
    assert loud.dtype == np.float32


@pytest.mark.parametrize("name", AUDIO)
def test_wrong_sound_is_refused(name: str) -> None:
    transform = registry.load("transforms", name)()
    drawn = transform.sample(np.random.default_rng(0), speechlike(), RATE_HZ)
    for wrong in (np.zeros((2, 50), np.float32), np.zeros(50, np.float64), np.zeros(50, np.int16)):
        with pytest.raises(ValueError, match=f"{name}.*{wrong.dtype}"):
            transform.apply(wrong, RATE_HZ, **drawn)
    with pytest.raises(ValueError, match=r"sample_rate_hz.*received 0"):
        transform.apply(speechlike(), 0, **drawn)


@pytest.mark.parametrize("name", VIDEO)
def test_empty_coloured_sliced_and_wrong_frames(name: str) -> None:
    transform, colour = registry.load("transforms", name)(), picture(channels=3)
    drawn = transform.sample(np.random.default_rng(0), colour)
    result = transform.apply(colour, **drawn)
    for channel in range(3):
        alone = transform.apply(colour[..., channel : channel + 1], **drawn)
        np.testing.assert_array_equal(result[..., channel : channel + 1], alone)
    if name != "cutout":  # whose colour is that of the whole clip
        np.testing.assert_array_equal(result[:2], transform.apply(colour[:2], **drawn))
    assert transform.apply(colour[:0], **drawn).shape == (0, 20, 24, 3)
    for wrong in (colour[0], colour.astype(np.float32)):
        with pytest.raises(ValueError, match=f"{name}.*{wrong.dtype}"):
            transform.apply(wrong, **drawn)


@pytest.mark.parametrize(
    ("made", "fields", "said"),
    [
        (Noise, {"min_snr_db": 20.0, "max_snr_db": 10.0}, "min_snr_db.*20.0 and 10.0"),
        (Noise, {"max_snr_db": float("inf")}, "max_snr_db.*inf"),
        (Gain, {"min_gain_db": 7.0}, "min_gain_db.*7.0 and 6.0"),
        (Speed, {"min_speed": 0.0}, "min_speed.*0.0"),
        (Bandwidth, {"min_cutoff_hz": 100.0}, "min_cutoff_hz.*100.0"),
        (Bandwidth, {"max_cutoff_hz": 2000.0}, "min_cutoff_hz.*3400.0 and 2000.0"),
        (TimeStretch, {"max_rate": 9.0}, "max_rate.*9.0"),
        (PitchShift, {"min_semitones": -30.0}, "min_semitones.*-30.0"),
        (TimeShift, {"max_shift_s": -1.0}, "max_shift_s.*-1.0"),
        (CropJitter, {"max_shift_fraction": 0.7}, "max_shift_fraction.*0.7"),
        (CropJitter, {"min_zoom": 2.0}, "min_zoom.*2.0 and 1.1"),
        (Brightness, {"max_contrast": 2.0}, "max_contrast.*2.0"),
        (Cutout, {"max_size_fraction": 1.1}, "max_size_fraction.*1.1"),
        (Mixup, {"alpha": 0.0}, "alpha.*0.0"),
    ],
)
def test_wrong_fields_are_refused(made: Any, fields: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**fields)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_bandwidth_passes_what_is_below_and_nothing_above(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    low, high = (0.3 * np.sin(2 * np.pi * hz * time_s) for hz in (1000, 5000))
    heard = Bandwidth().apply((low + high).astype(np.float32), rate_hz, cutoff_hz=3400.0)
    assert heard.size == rate_hz
    inner = slice(rate_hz // 10, -rate_hz // 10)  # without the ends
    assert np.abs(heard - low)[inner].max() < 0.01
    whole = low.astype(np.float32)
    for cutoff_hz in (rate_hz / 2, 90_000.0):
        assert Bandwidth().apply(whole, rate_hz, cutoff_hz=cutoff_hz) is whole


# === Real speech ===


@pytest.mark.real
@pytest.mark.parametrize("name", AUDIO)
def test_real_speech_survives(name: str, real_data: Path) -> None:
    path = sorted((real_data / "ravdess" / "Actor_01").glob("*.flac"))[0]
    speech, rate_hz = soundfile.read(path, dtype="float32")
    transform = registry.load("transforms", name)()
    drawn = transform.sample(np.random.default_rng(2), speech, rate_hz)
    result = transform.apply(speech, rate_hz, **drawn)
    assert 0.85 < result.size / speech.size < 1.2
    level_db = 10 * np.log10(np.mean(result**2) / np.mean(speech**2))
    assert abs(level_db - drawn.get("gain_db", 0.0)) < (1.5 if name == "noise" else 0.5)
