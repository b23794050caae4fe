"""The 276 statistics of a clip are those of librosa and numpy, each by its name."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.features.audio.autocorrelation import voice_autocorrelation
from affectstream.modeling.features.audio.clip_statistics import (
    CLIP_STATISTICS,
    STATISTIC_NAMES,
    AcousticStatistics,
)
from affectstream.modeling.features.front_end import vector_names
from affectstream.modeling.input_spec import InputSpec
from tests.support import librosa_reference as reference

# As the docstring states them: of decibels and coefficients, and of all other numbers.
TOLERANCE_DB, TOLERANCE = 1e-3, 1e-5
SPEC = InputSpec(sample_rate_hz=16_000)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    inputs = SPEC.inputs("audio")
    features = CLIP_STATISTICS.connect(inputs, SPEC)
    assert features.mask is None
    return keras.Model(inputs, features.values)


def predicted(model: keras.Model, *waveforms: np.ndarray, fill: float = 0.9) -> np.ndarray:
    """(clips, 276) of clips of any length, what lies behind them being loud."""
    longest = max(map(len, waveforms))
    rows = [np.pad(w, (0, longest - len(w)), constant_values=fill) for w in waveforms]
    lengths = np.array([len(w) for w in waveforms], np.int32)
    batch = {"audio": np.stack(rows), "audio_length": lengths}
    return model.predict_on_batch(batch)


def check(name: str, found: np.ndarray, waveform: np.ndarray) -> None:
    expected = reference.statistics(waveform)
    assert tuple(expected) == STATISTIC_NAMES
    for column, value in zip(STATISTIC_NAMES, found, strict=True):
        is_level = column.startswith(("mfcc", "mel_db", "spectral_contrast"))
        difference = abs(value - expected[column])
        limit = TOLERANCE_DB if is_level else TOLERANCE * min(1.0, abs(expected[column]) + 1e-3)
        assert difference < limit, f"{name}, {column}: {difference} of {expected[column]}"


def test_the_names_of_the_numbers() -> None:
    assert len(STATISTIC_NAMES) == len(set(STATISTIC_NAMES)) == 276
    assert vector_names(CLIP_STATISTICS, "clip_statistics") == STATISTIC_NAMES
    counts = {
        stem: sum(name.startswith(stem) for name in STATISTIC_NAMES)
        for stem in ("signal", "rms", "silence", "harmonic", "autocorrelation", "mfcc")
    }
    assert list(counts.values()) == [2, 2, 1, 1, 2, 120]
    rest = ("chroma", "mel_db", "spectral_contrast", "zero_crossing")
    assert [sum(n.startswith(stem) for n in STATISTIC_NAMES) for stem in rest] == [12, 128, 7, 1]


def test_all_numbers_equal_the_reference(model: keras.Model) -> None:
    signals = reference.signals(16_000)
    # Clips of several lengths in one batch.
    waveforms = [wave[: 16_000 - 1_500 * i] for i, wave in enumerate(signals.values())]
    found = predicted(model, *waveforms)
    assert found.shape == (len(signals), 276)
    assert found.dtype == np.float32
    for name, row, waveform in zip(signals, found, waveforms, strict=True):
        check(name, row, waveform)


@pytest.mark.real
def test_all_numbers_equal_the_reference_on_real_speech(
    model: keras.Model, real_data: Path
) -> None:
    names, waveforms = zip(*reference.speech(real_data, 2), strict=True)
    for name, row, waveform in zip(names, predicted(model, *waveforms), waveforms, strict=True):
        check(name, row, waveform)


def test_only_the_first_ten_seconds_count(model: keras.Model) -> None:
    wave = reference.signals(170_000)["noise"]
    np.testing.assert_array_equal(predicted(model, wave), predicted(model, wave[:160_000]))


def test_what_is_missing_counts_as_silence(model: keras.Model) -> None:
    lost, silent = predicted(model, np.zeros(0, np.float32), np.zeros(4_000, np.float32))
    np.testing.assert_allclose(lost, silent, rtol=0, atol=1e-4)
    assert silent[STATISTIC_NAMES.index("silence_ratio")] == 1.0
    assert silent[STATISTIC_NAMES.index("mel_db_001")] == pytest.approx(-100)
    assert np.isfinite(predicted(model, np.full(1, 0.5, np.float32))).all()


def test_a_voice_repeats_itself_and_noise_does_not(model: keras.Model) -> None:
    signals = reference.signals(16_000)
    at = STATISTIC_NAMES.index("autocorrelation_max")
    # 200 Hz is a period of 80 samples; 440 Hz is met at two of its periods.
    found = predicted(model, signals["sine"], signals["noise"])[:, at]
    assert found[0] > 0.95
    assert found[1] < 0.1


@pytest.mark.parametrize("name", list(reference.signals()))
def test_the_autocorrelation_is_librosas(name: str) -> None:
    waveform = reference.signals(5_000)[name].astype(np.float64)
    found = np.asarray(voice_autocorrelation(tf.constant(waveform), 16_000))
    np.testing.assert_allclose(found, reference.autocorrelation(waveform), rtol=0, atol=1e-9)


def test_the_statistics_survive_saving_and_export(model: keras.Model, tmp_path: Path) -> None:
    waveform = reference.signals(8_000)["clipped"]
    batch = {"audio": waveform[None], "audio_length": np.array([7_000], np.int32)}
    expected = np.asarray(model(batch))
    model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    given = served.serve({name: tf.constant(value) for name, value in batch.items()})
    np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-4, atol=1e-4)
    layer = AcousticStatistics(22_050, 512, 128)
    assert AcousticStatistics.from_config(layer.get_config()).framing == layer.framing


def test_records_of_another_rate_are_refused() -> None:
    spec = InputSpec(sample_rate_hz=48_000)
    with pytest.raises(UserError, match="16000 Hz, the records hold 48000 Hz"):
        CLIP_STATISTICS.connect(spec.inputs("audio"), spec)
