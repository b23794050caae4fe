"""One contract for every fusion of the registry, and the values of each worked out by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

import registry
from modeling.training import load_model, save_model

FUSIONS = registry.names("fusions")
STREAMS = ("audio", "video", "text")
DIMS = {"audio": 5, "video": 3, "text": 4}
NUM_CLASSES = 4


def build(name: str, streams: tuple[str, ...] = STREAMS) -> keras.Model:
    """A fusion whose weights are none of those that it starts with."""
    keras.utils.set_random_seed(2)
    fusion = registry.load("fusions", name)(streams, NUM_CLASSES, {s: DIMS[s] for s in streams})
    rng = np.random.default_rng(4)
    for variable in fusion.weights:
        if "seed" not in variable.path:
            variable.assign(rng.uniform(0.3, 1.5, variable.shape))
    return fusion


def example(
    present: dict[str, list[int]], num_rows: int = 3, junk: float = 0.0
) -> dict[str, np.ndarray]:
    """Inputs; where a stream is missing `junk` is added to all that it says."""
    rng = np.random.default_rng(1)
    given = {}
    for stream, there in present.items():
        flags = np.array(there, np.float32)
        noise = junk * (1 - flags)[:, None]
        given[f"{stream}_logits"] = rng.normal(0, 2, (num_rows, NUM_CLASSES)) + noise
        given[f"{stream}_embedding"] = rng.normal(0, 1, (num_rows, DIMS[stream])) + noise
        given[f"{stream}_present"] = flags
    return {name: value.astype(np.float32) for name, value in given.items()}


def answer(fusion: keras.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(fusion(given, training=False)["logits"])


# === The contract ===


@pytest.mark.parametrize("name", FUSIONS)
def test_any_stream_may_be_missing(name: str) -> None:
    for count in (2, 3):
        streams = STREAMS[:count]
        fusion = build(name, streams)
        for there in itertools.product([0, 1], repeat=count):
            present = dict(zip(streams, ([flag] * 3 for flag in there), strict=True))
            logits = answer(fusion, example(present))
            assert logits.shape == (3, NUM_CLASSES)
            assert logits.dtype == np.float32
            assert np.isfinite(logits).all()
            # What a missing stream holds is never looked at.
            np.testing.assert_allclose(
                logits, answer(fusion, example(present, junk=100.0)), rtol=1e-5, atol=1e-5
            )


@pytest.mark.parametrize("name", FUSIONS)
def test_each_present_stream_counts(name: str) -> None:
    fusion = build(name)
    all_there = {stream: [1, 1, 1] for stream in STREAMS}
    whole = answer(fusion, example(all_there))
    for stream in STREAMS:
        without = answer(fusion, example({**all_there, stream: [0, 0, 0]}))
        assert np.abs(without - whole).max() > 1e-3


@pytest.mark.parametrize("name", FUSIONS)
def test_rows_of_one_batch_may_lack_different_streams(name: str) -> None:
    fusion = build(name)
    mixed = example({"audio": [1, 0, 1], "video": [1, 1, 0], "text": [0, 1, 0]})
    whole = answer(fusion, mixed)
    for row in range(3):
        alone = answer(fusion, {key: value[row : row + 1] for key, value in mixed.items()})
        np.testing.assert_allclose(whole[row], alone[0], rtol=1e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_saved_and_read_again(name: str, tmp_path: Path) -> None:
    fusion = build(name)
    given = example({"audio": [1, 0, 1], "video": [1, 1, 0], "text": [1, 1, 0]})
    save_model(fusion, tmp_path / "fusion.keras")
    again = load_model(tmp_path / "fusion.keras")
    np.testing.assert_array_equal(answer(again, given), answer(fusion, given))


@pytest.mark.parametrize("name", FUSIONS)
def test_learns_one_batch_by_heart_or_has_nothing_to_learn(name: str) -> None:
    streams = ("audio", "video")
    fusion = registry.load("fusions", name)(streams, NUM_CLASSES, {s: DIMS[s] for s in streams})
    if not fusion.trainable_variables:
        assert name in ("sum", "calibrated_late")
        return
    given = example({"audio": [1, 1, 1, 0] * 2, "video": [1, 0, 1, 1] * 2}, num_rows=8)
    truth = np.arange(8) % NUM_CLASSES
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(fusion.trainable_variables)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = fusion(given, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, fusion.trainable_variables))

    assert (answer(fusion, given).argmax(axis=1) == truth).mean() < 1
    for _ in range(150):
        step()
    assert (answer(fusion, given).argmax(axis=1) == truth).all()


# === Sum of softmaxes ===


def test_sum_by_hand() -> None:
    given = example({"audio": [1, 1, 0], "video": [1, 0, 0]})
    logits = answer(build("sum", ("audio", "video")), given)
    audio, video = (softmax(given[f"{s}_logits"], axis=1) for s in ("audio", "video"))
    np.testing.assert_allclose(np.exp(logits[0]), (audio[0] + video[0]) / 2, atol=1e-6)
    np.testing.assert_allclose(np.exp(logits[1]), audio[1], atol=1e-6)
    assert np.ptp(logits[2]) == 0


# === Calibrated late fusion ===


def late(streams: tuple[str, ...] = ("audio", "video")) -> keras.Model:
    return registry.load("fusions", "calibrated_late")(
        streams, NUM_CLASSES, {s: DIMS[s] for s in streams}
    )


def test_late_by_hand() -> None:
    fusion = late()
    layer = fusion.get_layer("late")
    layer.temperatures.assign([2.0, 0.5])
    layer.weights_of_streams.assign([0.7, 0.3])
    layer.sharpness.assign(1.6)
    given = example({"audio": [1, 1, 0], "video": [1, 0, 1]})
    audio = log_softmax(given["audio_logits"] / 2.0, axis=1)
    video = log_softmax(given["video_logits"] / 0.5, axis=1)
    expected = np.stack([1.6 * (0.7 * audio[0] + 0.3 * video[0]), audio[1], video[2]])
    np.testing.assert_allclose(answer(fusion, given), expected, atol=1e-5)


def test_a_stream_alone_answers_with_its_own_calibrated_probabilities() -> None:
    fusion = late()
    layer = fusion.get_layer("late")
    layer.temperatures.assign([3.0, 0.7])
    layer.weights_of_streams.assign([0.9, 0.1])
    layer.sharpness.assign(2.5)
    for stream, temperature in (("audio", 3.0), ("video", 0.7)):
        there = {s: [int(s == stream)] * 3 for s in ("audio", "video")}
        given = example(there)
        np.testing.assert_allclose(
            softmax(answer(fusion, given), axis=1),
            softmax(given[f"{stream}_logits"] / temperature, axis=1),
            atol=1e-6,
        )


def test_streams_trained_apart_multiply_with_their_priors_divided_out() -> None:
    fusion = late()
    priors = np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    fusion.get_layer("late").assume_independent([2.0, 1.0], np.log(priors))
    given = example({"audio": [1, 1, 0], "video": [1, 0, 1]})
    audio = softmax(given["audio_logits"] / 2.0, axis=1) / priors[0]
    video = softmax(given["video_logits"], axis=1) / priors[1]
    expected = np.stack([audio[0] * video[0], audio[1], video[2]])
    np.testing.assert_allclose(
        softmax(answer(fusion, given), axis=1),
        expected / expected.sum(axis=1, keepdims=True),
        atol=1e-6,
    )


def drawn(
    num_clips: int, scales: tuple[float, ...], seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Independent streams that say the right thing, each too loud by its scale; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(NUM_CLASSES, size=num_clips)
    said = []
    for scale in scales:
        # The log posterior of a unit Gaussian around 2 * (the true class) in each dimension.
        seen = 2 * np.eye(NUM_CLASSES)[truth] + rng.normal(0, 1, (num_clips, NUM_CLASSES))
        said.append(scale * 2 * seen)
    return said, truth


def test_calibrating_finds_known_temperatures_weights_and_sharpness() -> None:
    logits, truth = drawn(4000, (3.0, 0.4))
    layer = late().get_layer("late")
    everywhere = [np.ones(len(truth), bool)] * 2
    layer.calibrate(logits, everywhere, truth)
    told = layer.settings(("audio", "video"))
    assert told["temperature"]["audio"] == pytest.approx(3.0, rel=0.1)
    assert told["temperature"]["video"] == pytest.approx(0.4, rel=0.1)
    # Equally good and independent: equal weights, and their log-probabilities add up.
    assert told["weight"]["audio"] == pytest.approx(0.5, abs=0.06)
    assert sum(told["weight"].values()) == pytest.approx(1.0)
    assert told["sharpness"] == pytest.approx(2.0, rel=0.1)


def test_calibrating_silences_a_stream_that_knows_nothing() -> None:
    (good,), truth = drawn(1500, (1.0,))
    noise = np.random.default_rng(9).normal(0, 1, good.shape)
    layer = late().get_layer("late")
    layer.calibrate([good, noise], [np.ones(len(truth), bool)] * 2, truth)
    told = layer.settings(("audio", "video"))
    assert told["weight"]["video"] < 0.1
    assert told["temperature"]["video"] > 5
    assert told["sharpness"] * told["weight"]["audio"] == pytest.approx(1.0, rel=0.15)


def test_calibrating_takes_each_stream_where_it_is() -> None:
    logits, truth = drawn(3000, (3.0, 1.0))
    half = np.arange(len(truth)) < 2000
    logits[1] = np.where(half[:, None], logits[1], 50.0)  # nonsense where it is missing
    layer = late().get_layer("late")
    layer.calibrate(logits, [np.ones(len(truth), bool), half], truth)
    told = layer.settings(("audio", "video"))
    assert told["temperature"]["audio"] == pytest.approx(3.0, rel=0.1)
    assert told["temperature"]["video"] == pytest.approx(1.0, rel=0.1)
