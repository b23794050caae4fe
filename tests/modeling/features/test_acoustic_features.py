"""Every feature of sound in the graph is librosa's, in whatever batch its clip lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter

from affectstream.core.errors import UserError
from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing
from affectstream.modeling.features.audio.frame_features import (
    FRAME_DESCRIPTORS,
    FrameFeatures,
    FrameMask,
    descriptor_names,
)
from affectstream.modeling.features.audio.frame_sequences import (
    ACOUSTIC_SEQUENCE,
    MFCC_CHROMA_SEQUENCE,
    SequenceConfig,
)
from affectstream.modeling.features.audio.harmonic import harmonic
from affectstream.modeling.features.audio.log_mel import LogMelConfig
from affectstream.modeling.features.audio.median import sliding_median
from affectstream.modeling.features.audio.spectrogram_image import SPECTROGRAM_IMAGE
from affectstream.modeling.input_spec import InputSpec
from tests.support import librosa_reference as reference

# As the docstrings state them; mel power is told against the loudest.
TOLERANCES = {
    "mfcc": 1e-3,
    "mfcc_delta": 1e-4,
    "mfcc_delta2": 1e-4,
    "chroma": 1e-5,
    "spectral_contrast": 1e-3,
    "centroid_hz": 1e-2,
    "bandwidth_hz": 1e-2,
    "roll_off_hz": 1e-9,
    "flatness": 1e-5,
    "zero_crossing_rate": 1e-6,
    "rms": 1e-6,
}
ALL_PARTS = tuple(FRAME_DESCRIPTORS)
SEQUENCES = {"mfcc_chroma_sequence": MFCC_CHROMA_SEQUENCE, "acoustic_sequence": ACOUSTIC_SEQUENCE}


def made(waveform: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
    """(dim, frames) by feature of one clip."""
    count = np.array([len(waveform) if length is None else length])
    whole = np.asarray(FrameFeatures(ALL_PARTS)(waveform[None], count))[0].T
    ends = np.cumsum([len(FRAME_DESCRIPTORS[part].names) for part in ALL_PARTS])[:-1]
    return dict(zip(ALL_PARTS, np.split(whole, ends), strict=True))


def check(name: str, waveform: np.ndarray) -> None:
    ours = made(waveform)
    for part, expected in reference.frame_features(waveform).items():
        assert ours[part].shape == expected.shape, f"{name}, {part}"
        limit = TOLERANCES.get(part) or 1e-6 * max(1.0, float(expected.max()))
        difference = np.abs(ours[part] - expected).max()
        assert difference <= limit, f"{name}, {part}: {difference} > {limit}"


# === Parity ===


@pytest.mark.parametrize("name", list(reference.signals()))
def test_frames_equal_librosa(name: str) -> None:
    check(name, reference.signals()[name])


@pytest.mark.real
def test_frames_equal_librosa_on_real_speech(real_data: Path) -> None:
    for name, waveform in reference.speech(real_data, 5):
        check(name, waveform)


@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
@pytest.mark.parametrize("num_samples", [1, 255, 256, 700, 2048, 2303])
def test_short_clips_equal_librosa(num_samples: int) -> None:
    waveform = reference.signals(num_samples)["noise"]
    check(f"{num_samples} samples", waveform)
    ours = made(waveform)
    is_long = 1 + num_samples // 256 >= 9
    assert ours["mfcc_delta"].any() == ours["mfcc_delta2"].any() == is_long


@pytest.mark.parametrize("rows", [1, 2, 7, 31, 100])
@pytest.mark.parametrize("width", [3, 9, 31])
def test_the_median_is_that_of_scipy(rows: int, width: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    mirrored = np.pad(values, ((width // 2, width // 2), (0, 0)), mode="symmetric")
    expected = np.median(sliding_window_view(mirrored, width, axis=0), axis=-1)
    if rows != 2:  # There scipy 1.17 gives memory that nobody wrote.
        np.testing.assert_array_equal(median_filter(values, (width, 1), mode="reflect"), expected)
    np.testing.assert_array_equal(np.asarray(sliding_median(tf.constant(values), width)), expected)


def test_an_even_median_is_refused() -> None:
    with pytest.raises(ValueError, match="odd and 3 or more; received 4"):
        sliding_median(tf.zeros((5, 5)), 4)


def harmonic_part(waveform: np.ndarray) -> np.ndarray:
    sound = AudioFrames(tf.constant(waveform[None]), tf.constant([len(waveform)]), Framing())
    return np.asarray(harmonic(sound))


@pytest.mark.parametrize("name", list(reference.signals()))
def test_the_harmonic_part_equals_librosa(name: str) -> None:
    waveform = reference.signals(8_000)[name]
    np.testing.assert_allclose(
        harmonic_part(waveform), reference.harmonic(waveform), rtol=0, atol=1e-5
    )


@pytest.mark.real
def test_the_harmonic_part_of_real_speech(real_data: Path) -> None:
    for _, waveform in reference.speech(real_data, 2):
        difference = np.abs(harmonic_part(waveform) - reference.harmonic(waveform)).max()
        assert difference < 1e-5


# === Batches ===


def test_a_clip_is_the_same_alone_and_in_a_padded_batch() -> None:
    wave = reference.signals(12_000)["offset"]
    lengths = np.array([12_000, 7_000, 256, 255, 1, 2304, 0])
    batch = np.tile(wave, (len(lengths), 1))  # What lies behind a length is loud, not zero.
    together = np.asarray(FrameFeatures(ALL_PARTS)(batch, lengths))
    mask = np.asarray(FrameMask(together.shape[1], 256)(lengths))
    np.testing.assert_array_equal(mask.sum(axis=1), [47, 28, 2, 1, 1, 10, 0])
    for length, row, frames in zip(lengths, together, mask, strict=True):
        assert not row[~frames].any()
        if length:
            alone = np.concatenate(list(made(wave[:length]).values())).T
            np.testing.assert_allclose(row[frames], alone, rtol=1e-5, atol=1e-5)


def test_no_samples_at_all() -> None:
    values = FrameFeatures(ALL_PARTS)(np.zeros((2, 0), np.float32), np.zeros(2, np.int32))
    assert values.shape == (2, 1, len(descriptor_names(ALL_PARTS)))
    assert not np.asarray(values).any()


# === The layer ===


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"parts must be of \['mfcc',.*received \['tempo'\]"):
        FrameFeatures(["tempo"])
    with pytest.raises(ValueError, match=r"received \[\]"):
        FrameFeatures([])


def test_another_rank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(batch, samples\); received shape"):
        FrameFeatures(["rms"])(np.zeros((1, 2, 400), np.float32), np.array([400]))


def test_half_precision_leaves_the_features_alone() -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        layer = FrameFeatures(["centroid_hz"])
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    wave = reference.signals(4_000)["noise"]
    expected = reference.frame_features(wave)["centroid_hz"].T
    made_here = layer(wave[None], np.array([4_000]))
    np.testing.assert_allclose(np.asarray(made_here)[0], expected, rtol=0, atol=1e-2)


# === Front ends ===


def model_of(front_end: Any) -> keras.Model:
    inputs = InputSpec(sample_rate_hz=16_000).inputs("audio")
    features = front_end.connect(inputs, InputSpec(sample_rate_hz=16_000))
    outputs = {"values": features.values}
    if features.mask is not None:
        outputs["mask"] = features.mask
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("name", list(SEQUENCES))
def test_sequences_name_their_columns(name: str) -> None:
    front_end: SequenceConfig = SEQUENCES[name]
    model = model_of(front_end)
    assert front_end.num_frames == 188
    assert model.output["values"].shape == (None, 188, len(front_end.names))
    assert model.output["mask"].shape == (None, 188)
    assert len(set(front_end.names)) == len(front_end.names)
    assert not model.weights


def test_what_the_sequences_hold() -> None:
    assert MFCC_CHROMA_SEQUENCE.names[0] == "mfcc_01"
    assert MFCC_CHROMA_SEQUENCE.names[-1] == "chroma_b"
    assert len(MFCC_CHROMA_SEQUENCE.names) == 40 + 12
    assert len(ACOUSTIC_SEQUENCE.names) == 3 * 40 + 12 + 7 + 6
    assert ACOUSTIC_SEQUENCE.names[-6:] == (
        *("centroid_hz", "bandwidth_hz", "roll_off_hz", "flatness", "zero_crossing_rate", "rms"),
    )


def test_a_sequence_is_of_the_window_and_of_sound_only() -> None:
    long, short = reference.signals(60_000)["noise"], reference.signals(20_000)["clipped"]
    batch = np.stack([long, np.pad(short, (0, 40_000), constant_values=0.7), long])
    found = model_of(MFCC_CHROMA_SEQUENCE)(
        {"audio": batch, "audio_length": np.array([60_000, 20_000, 0], np.int32)}
    )
    values, mask = np.asarray(found["values"]), np.asarray(found["mask"])
    assert mask.sum(axis=1).tolist() == [188, 79, 0]
    for row, wave, count in zip(values, (long[8_000:56_000], short), (188, 79), strict=False):
        expected = reference.frame_features(wave)
        both = np.concatenate([expected["mfcc"], expected["chroma"]]).T
        np.testing.assert_allclose(row[:count], both, rtol=0, atol=1e-3)
        assert not row[count:].any()
    assert not values[2].any()


def test_the_picture_is_the_spectrogram_in_grey() -> None:
    model = model_of(SPECTROGRAM_IMAGE)
    assert model.output["values"].shape == (None, 128, 188, 1)
    assert set(model.output) == {"values"}
    wave = np.roll(reference.signals(56_000)["half silent"], 20_000)
    found = model({"audio": wave[None], "audio_length": np.array([56_000], np.int32)})
    picture = np.asarray(found["values"])[0, ..., 0]
    log_mel: LogMelConfig = SPECTROGRAM_IMAGE.log_mel
    level_db = np.asarray(log_mel.build()(wave[None, 8_000:]))[0]
    np.testing.assert_allclose(picture, (level_db + 80) * 255 / 80, rtol=0, atol=1e-3)
    assert picture.min() == 0.0
    assert picture.max() == 255.0


@pytest.mark.parametrize("front_end", [MFCC_CHROMA_SEQUENCE, ACOUSTIC_SEQUENCE, SPECTROGRAM_IMAGE])
def test_records_of_another_rate_are_refused(front_end: Any) -> None:
    spec = InputSpec(sample_rate_hz=48_000)
    with pytest.raises(UserError, match="16000 Hz, the records hold 48000 Hz"):
        front_end.connect(spec.inputs("audio"), spec)


def test_front_ends_survive_saving_and_export(tmp_path: Path) -> None:
    model = model_of(ACOUSTIC_SEQUENCE)
    wave = np.stack(list(reference.signals(30_000).values())[:2])
    batch = {"audio": wave, "audio_length": np.array([30_000, 9_000], np.int32)}
    expected = model(batch)
    model.save(tmp_path / "front.keras")
    again = keras.saving.load_model(tmp_path / "front.keras")
    model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    for given in (again(batch), served.serve({k: tf.constant(v) for k, v in batch.items()})):
        np.testing.assert_array_equal(np.asarray(given["mask"]), np.asarray(expected["mask"]))
        np.testing.assert_allclose(
            np.asarray(given["values"]), np.asarray(expected["values"]), rtol=1e-5, atol=1e-4
        )
    one = {key: tf.constant(value[:1]) for key, value in batch.items()}
    assert served.serve(one)["values"].shape == (1, 188, 145)
