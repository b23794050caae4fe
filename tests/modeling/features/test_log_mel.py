"""The log-mel picture is librosa's, computed in the graph, and knows its own sampling rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.features.audio.log_mel import LogMel, LogMelConfig
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO
from affectstream.preprocessing.media.media_file import MediaFile

TOLERANCE_DB = 1e-3
SETTINGS = ("log_mel_128_16k", "log_mel_128_48k")


def reference(waveform: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """(mels, frames) by librosa."""
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        hop_length=config.hop_samples,
        n_mels=config.num_mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
    )
    return librosa.power_to_db(power, ref=np.max)


def signals(config: LogMelConfig) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    at_s = np.arange(config.window_samples) / config.sample_rate_hz
    noise = rng.normal(0, 0.1, config.window_samples)
    sine = np.sin(2 * np.pi * 440 * at_s)
    yield "noise", noise
    yield "sine", 0.5 * sine
    yield "clipped", np.clip(4 * sine + noise, -1, 1)
    yield "faint", 1e-4 * noise
    yield "half silent", np.where(at_s < 1, noise, 0)
    yield "one click", (np.arange(len(at_s)) == 1000).astype(float)


@pytest.fixture(params=SETTINGS)
def config(request: pytest.FixtureRequest) -> LogMelConfig:
    return registry.load("features", request.param)


def test_both_settings_give_one_picture() -> None:
    for name in SETTINGS:
        one = registry.load("features", name)
        assert one.output_shape == (128, 282, 1)
        assert one.build()(np.zeros((2, one.window_samples), np.float32)).shape == (2, 128, 282)


def test_the_numbers_of_the_two_stream_system() -> None:
    told = (48_000, 144_000, 1024, 512, 128, 50.0, 24_000.0)
    log_mel_128_48k = registry.load("features", "log_mel_128_48k")
    assert told == (
        *(
            log_mel_128_48k.sample_rate_hz,
            log_mel_128_48k.window_samples,
            log_mel_128_48k.fft_samples,
            log_mel_128_48k.hop_samples,
            log_mel_128_48k.num_mels,
        ),
        *(log_mel_128_48k.low_hz, log_mel_128_48k.high_hz),
    )
    log_mel_128_16k = registry.load("features", "log_mel_128_16k")
    assert (log_mel_128_16k.sample_rate_hz, log_mel_128_16k.window_samples) == (16_000, 47_770)
    assert (log_mel_128_16k.hop_samples, log_mel_128_16k.high_hz) == (170, 8_000.0)
    # The same stretch of a clip, to a sample of the slower rate.
    for field in ("window_samples", "offset_samples"):
        seconds = [
            getattr(one, field) / one.sample_rate_hz for one in (log_mel_128_48k, log_mel_128_16k)
        ]
        assert seconds[0] == pytest.approx(seconds[1], abs=0.015)


def test_log_mel_equals_librosa(config: LogMelConfig) -> None:
    names, waveforms = zip(*signals(config), strict=True)
    batch = np.stack(waveforms).astype(np.float32)
    made = np.asarray(config.build()(batch))
    for name, waveform, picture in zip(names, batch, made, strict=True):
        difference = np.abs(picture - reference(waveform, config)).max()
        assert difference < TOLERANCE_DB, f"{name}: {difference} dB"
        assert picture.max() == 0.0
        assert picture.min() >= -80.0


@pytest.mark.real
def test_equals_librosa_on_real_speech(config: LogMelConfig, real_data: Path) -> None:
    clips = sorted((real_data / "ravdess").rglob("*.flac"))[::150]
    assert len(clips) >= 5
    layer = config.build()
    for path in clips:
        with MediaFile(path) as media:
            bounds = [(0.0, media.info.duration_s)]
            (tracks,) = media.segments(bounds, config.sample_rate_hz, None, lambda frame: frame)
        assert tracks.waveform is not None
        waveform = tracks.waveform[: config.window_samples]
        picture = np.asarray(layer(waveform[None]))[0]
        difference = np.abs(picture - reference(waveform, config)).max()
        assert difference < TOLERANCE_DB, f"{path.name}: {difference} dB"


def test_silence_is_finite_and_flat(config: LogMelConfig) -> None:
    picture = np.asarray(config.build()(np.zeros((1, config.window_samples), np.float32)))
    expected = reference(np.zeros(config.window_samples, np.float32), config)
    np.testing.assert_array_equal(picture[0], expected)
    np.testing.assert_array_equal(picture, 0.0)


def test_rows_do_not_touch_each_other(config: LogMelConfig) -> None:
    batch = np.stack([w for _, w in signals(config)]).astype(np.float32)
    layer = config.build()
    whole, alone = np.asarray(layer(batch))[2], np.asarray(layer(batch[2:3]))[0]
    # oneDNN multiplies matrices of other sizes in another order.
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-4)


def test_no_filter_is_empty(config: LogMelConfig) -> None:
    layer = config.build()
    layer.build((None, config.window_samples))
    assert layer._filters is not None
    assert (layer._filters.max(axis=0) > 0).all()


def test_the_layer_survives_saving(tmp_path: Path) -> None:
    config = registry.load("features", "log_mel_128_16k")
    waveform = keras.Input((config.window_samples,))
    model = keras.Model(waveform, config.build()(waveform))
    model.save(tmp_path / "front.keras")
    again = keras.saving.load_model(tmp_path / "front.keras")
    noise = np.random.default_rng(1).normal(0, 0.1, (1, config.window_samples)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(again(noise)), np.asarray(model(noise)))


def test_another_rank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(batch, samples\); received shape"):
        LogMel(16_000, 1024, 170, 128, 50.0, 8_000.0)(np.zeros((1, 2, 4000), np.float32))


def test_half_precision_leaves_decibels_alone() -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        layer = registry.load("features", "log_mel_128_16k").build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert layer.compute_dtype == "float32"


def test_records_of_another_rate_are_refused() -> None:
    with pytest.raises(UserError) as raised:
        build_stream_model(RELU_CNN_AUDIO, 7, InputSpec(sample_rate_hz=48_000))
    line = str(raised.value)
    assert "\n" not in line
    assert "16000 Hz" in line
    assert "48000 Hz" in line
    assert "--sample-rate 16000" in line
