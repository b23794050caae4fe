"""One contract for every fusion of the registry, and the values of each worked out by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.models.fused_model import fused_model
from affectstream.modeling.runs.checkpoints import load_model, save_model

pytestmark = pytest.mark.slow

FUSIONS = registry.names("fusions")
STREAMS = ("audio", "video", "text")
DIMS = {"audio": 5, "video": 3, "text": 4}
NUM_CLASSES = 4
# Of the steps with which a fusion learns by heart; a deep one wants smaller ones.
RATES = {"concat_resnet1d": 1e-3, "cross_attention": 5e-3}


def build(name: str, streams: tuple[str, ...] = STREAMS) -> keras.Model:
    """A fusion whose weights are none of those that it starts with."""
    keras.utils.set_random_seed(2)
    fusion = registry.load("fusions", name)(streams, NUM_CLASSES, {s: DIMS[s] for s in streams})
    rng = np.random.default_rng(4)
    for variable in fusion.weights:
        if "seed" in variable.path:
            continue
        if "kernel" in variable.name:  # so scaled that a deep network neither fades nor explodes
            fan_in = float(np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(0, (2 / fan_in) ** 0.5, variable.shape))
        else:
            variable.assign(rng.uniform(0.3, 1.5, variable.shape))
    return fusion


def example(present: dict[str, list[int]], junk: float | None = None) -> dict[str, np.ndarray]:
    """Inputs; where a stream is missing, `junk` is all that it says."""
    rng = np.random.default_rng(1)
    given: dict[str, np.ndarray] = {}
    for stream, there in present.items():
        flags = np.array(there, np.float32)
        said = {
            "logits": rng.normal(0, 2, (len(flags), NUM_CLASSES)),
            "embedding": rng.normal(0, 1, (len(flags), DIMS[stream])),
        }
        for kind, value in said.items():
            kept = value if junk is None else np.where(flags[:, None] > 0, value, junk)
            given[f"{stream}_{kind}"] = kept
        given[f"{stream}_present"] = flags
    return {name: value.astype(np.float32) for name, value in given.items()}


def answer(fusion: keras.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(fusion(given, training=False)["logits"])


# === The contract ===


@pytest.mark.parametrize("name", FUSIONS)
def test_built_first_in_a_process(name: str) -> None:
    """Where Keras counts the names that it gives from the beginning."""
    keras.backend.clear_session()
    layers = [layer.name for layer in build(name).layers]
    assert len(layers) == len(set(layers))


def stream(name: str) -> keras.Model:
    """A stream of two numbers a row, which is there where its amount is above 0."""
    amount = {"audio": ("audio_length", (), "int32"), "video": ("video_mask", (1,), "bool")}[name]
    given = keras.Input((2,), name=name)
    inputs = {name: given, amount[0]: keras.Input(amount[1], name=amount[0], dtype=amount[2])}
    embedding = keras.layers.Dense(DIMS[name])(given)
    made = {"logits": keras.layers.Dense(NUM_CLASSES)(embedding), "embedding": embedding}
    return keras.Model(inputs, made)


@pytest.mark.parametrize("name", FUSIONS)
def test_what_a_stream_says_alone_is_what_the_fusion_says_of_it(name: str) -> None:
    streams = {"audio": stream("audio"), "video": stream("video")}
    whole = fused_model(streams, build(name, tuple(streams)), with_single_streams=True)
    rng = np.random.default_rng(3)
    given = {key: rng.normal(0, 1, (4, 2)).astype(np.float32) for key in streams}
    given |= {"audio_length": np.ones(4, np.int32), "video_mask": np.ones((4, 1), bool)}
    both = whole(given, training=False)
    for alone, other in (("audio", "video_mask"), ("video", "audio_length")):
        made = whole(given | {other: np.zeros_like(given[other])}, training=False)
        wanted = np.asarray(made["logits"])
        np.testing.assert_allclose(both[f"{alone}_alone_logits"], wanted, atol=1e-6)
        np.testing.assert_allclose(made[f"{alone}_alone_logits"], wanted, atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("streams", [("audio", "video"), ("text", "audio"), STREAMS])
def test_any_stream_may_be_missing(name: str, streams: tuple[str, ...]) -> None:
    fusion = build(name, streams)
    rows = np.array(list(itertools.product([0, 1], repeat=len(streams))))  # every subset, none too
    present = {stream: rows[:, i].tolist() for i, stream in enumerate(streams)}
    logits = answer(fusion, example(present))
    assert logits.shape == (len(rows), NUM_CLASSES)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    # What a missing stream holds is never looked at.
    for junk in (100.0, np.nan, np.inf):
        np.testing.assert_allclose(
            logits, answer(fusion, example(present, junk)), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", FUSIONS)
def test_what_a_missing_stream_holds_does_not_reach_the_gradient(name: str) -> None:
    fusion = build(name)
    if not fusion.trainable_variables:
        return
    given = example({"audio": [1, 0, 0], "video": [0, 1, 0], "text": [1, 1, 0]}, junk=np.nan)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fusion(given, training=True)["logits"][:, 0])
    gradients = tape.gradient(loss, fusion.trainable_variables)
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients if g is not None)


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "best_stream"])
def test_each_present_stream_counts(name: str) -> None:
    fusion = build(name)
    all_there = {stream: [1] * 12 for stream in STREAMS}
    whole = answer(fusion, example(all_there))
    for stream in STREAMS:
        without = answer(fusion, example({**all_there, stream: [0] * 12}))
        assert np.abs(without - whole).max() > 1e-3


@pytest.mark.parametrize("name", FUSIONS)
def test_rows_of_one_batch_may_lack_different_streams(name: str) -> None:
    fusion = build(name)
    mixed = example({"audio": [1, 0, 1], "video": [1, 1, 0], "text": [0, 1, 0]})
    whole = answer(fusion, mixed)
    for row in range(3):
        alone = answer(fusion, {key: value[row : row + 1] for key, value in mixed.items()})
        np.testing.assert_allclose(whole[row], alone[0], rtol=1e-4, atol=1e-5)


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
        assert name in ("sum", "calibrated_late", "max_rule", "best_stream")
        return
    given = example({"audio": [1, 1, 1, 0] * 2, "video": [1, 0, 1, 1] * 2})
    truth = np.arange(8) % NUM_CLASSES
    for layer in all_layers(fusion):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # keeps up with the few steps here
    optimizer = keras.optimizers.Adam(RATES.get(name, 0.02))
    optimizer.build(fusion.trainable_variables)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = fusion(given, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, fusion.trainable_variables))

    assert (answer(fusion, given).argmax(axis=1) == truth).mean() < 1
    for count in range(150):
        step()
        if count % 10 == 9 and (answer(fusion, given).argmax(axis=1) == truth).all():
            break
    assert (answer(fusion, given).argmax(axis=1) == truth).all()


# === Sum of softmaxes ===


def test_sum_by_hand() -> None:
    given = example({"audio": [1, 1, 0], "video": [1, 0, 0]})
    logits = answer(build("sum", ("audio", "video")), given)
    audio, video = (softmax(given[f"{s}_logits"], axis=1) for s in ("audio", "video"))
    np.testing.assert_allclose(np.exp(logits[0]), (audio[0] + video[0]) / 2, atol=1e-6)
    np.testing.assert_allclose(np.exp(logits[1]), audio[1], atol=1e-6)
    assert np.ptp(logits[2]) == 0


# === Highest probability ===


def test_highest_by_hand() -> None:
    fusion = build("max_rule")
    given = example({"audio": [1, 1, 1, 0], "video": [1, 1, 0, 0], "text": [1, 0, 0, 0]})
    sure, unsure = [0.0, 0.0, 5.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    given["audio_logits"][:3] = unsure
    given["video_logits"][:2] = sure
    given["text_logits"][:] = [0.0, 9.0, 0.0, 0.0]  # surest of all, missing from the second row
    said = softmax(answer(fusion, given), axis=1)
    expected = [given["text_logits"][0], sure, unsure, np.zeros(NUM_CLASSES)]
    np.testing.assert_allclose(said, softmax(np.array(expected), axis=1), atol=1e-6)


def test_highest_is_the_class_of_the_highest_probability() -> None:
    given = example({stream: [1] * 40 for stream in STREAMS})
    logits = answer(build("max_rule"), given)
    every = np.stack([softmax(given[f"{stream}_logits"], axis=1) for stream in STREAMS], axis=1)
    np.testing.assert_array_equal(logits.argmax(axis=1), every.max(axis=1).argmax(axis=1))
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.exp(logits).max(axis=1), every.max(axis=(1, 2)), rtol=1e-5)


# === Best stream ===


def best(streams: tuple[str, ...] = STREAMS) -> keras.Model:
    return registry.load("fusions", "best_stream")(
        streams, NUM_CLASSES, {s: DIMS[s] for s in streams}
    )


def test_best_stream_takes_the_first_that_is_there() -> None:
    fusion = best()
    given = example({"audio": [1, 0, 0, 0], "video": [1, 1, 0, 0], "text": [1, 1, 1, 0]})
    nothing = np.zeros(NUM_CLASSES)
    for preferences, order in (([0, 0, 0], STREAMS), ([1, 2, 3], STREAMS[::-1])):
        fusion.get_layer("best").preferences.assign(preferences)
        first = [next((s for s in order if given[f"{s}_present"][row]), None) for row in range(4)]
        expected = [
            nothing if stream is None else given[f"{stream}_logits"][row]
            for row, stream in enumerate(first)
        ]
        np.testing.assert_allclose(answer(fusion, given), expected, atol=1e-6)


def test_best_stream_prefers_the_one_with_the_highest_uar() -> None:
    logits, truth = drawn(600, (1.0, 3.0, 1.0))
    logits[0] = logits[0] + np.random.default_rng(3).normal(0, 6, logits[0].shape)
    logits[2] = logits[2] + np.random.default_rng(4).normal(0, 2, logits[2].shape)
    layer = best().get_layer("best")
    layer.calibrate(logits, [np.ones(len(truth), bool)] * 3, truth, np.arange(len(truth)))
    told = layer.settings(STREAMS)
    assert told["order"] == ["video", "text", "audio"]
    assert told["temperature"]["video"] == pytest.approx(3.0, rel=0.15)


def test_best_stream_counts_recordings_that_lack_the_better_one() -> None:
    """The order is judged over all recordings, so no stream alone is ever better than it."""
    logits, truth = drawn(900, (1.0, 1.0))
    logits[1] = logits[1] + np.random.default_rng(5).normal(0, 3, logits[1].shape)
    seldom = np.arange(len(truth)) < 90
    present = [seldom, np.ones(len(truth), bool)]
    fusion = best(("audio", "video"))
    fusion.get_layer("best").calibrate(logits, present, truth, np.arange(len(truth)))
    assert fusion.get_layer("best").settings(("audio", "video"))["order"] == ["audio", "video"]
    given = {"audio_embedding": np.zeros((900, 5)), "video_embedding": np.zeros((900, 3))}
    for stream, said, there in zip(("audio", "video"), logits, present, strict=True):
        given |= {f"{stream}_logits": said, f"{stream}_present": there.astype(float)}
    given = {name: value.astype(np.float32) for name, value in given.items()}
    right = (answer(fusion, given).argmax(axis=1) == truth).mean()
    assert right > (logits[1].argmax(axis=1) == truth).mean()


def test_best_stream_without_common_recordings_keeps_the_order_given() -> None:
    layer = best(("audio", "video")).get_layer("best")
    layer.assume_independent([2.0, 0.5], np.log(np.full((2, NUM_CLASSES), 0.25)))
    assert layer.settings(("audio", "video")) == {
        "order": ["audio", "video"],
        "temperature": {"audio": 2.0, "video": 0.5},
    }


# === Gated and attending ===


def test_the_gate_of_two_streams_is_the_papers() -> None:
    """Equation 4 of Arevalo et al. with its sigmoid, on layers whose norms change nothing here."""
    streams = ("audio", "video")
    fusion = build("gated", streams)
    for stream in streams:
        norm = fusion.get_layer(f"{stream}_norm")
        norm.gamma.assign(np.ones(DIMS[stream]))
        norm.beta.assign(np.zeros(DIMS[stream]))
    given = example({"audio": [1, 1, 0], "video": [1, 0, 1]})

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        kernel, bias = fusion.get_layer(name).get_weights()
        return x @ kernel + bias

    seen = {}
    for stream in streams:
        x = given[f"{stream}_embedding"]
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)
        seen[stream] = x * given[f"{stream}_present"][:, None]
    flags = np.stack([given[f"{stream}_present"] for stream in streams], axis=1)
    together = np.concatenate([*seen.values(), flags], axis=1)
    audio, video = (np.tanh(dense(f"{stream}_hidden", seen[stream])) for stream in streams)
    gate = 1 / (1 + np.exp(dense("video_gate", together) - dense("audio_gate", together)))
    mixed = np.stack([gate[0] * audio[0] + (1 - gate[0]) * video[0], audio[1], video[2]])
    np.testing.assert_allclose(answer(fusion, given), dense("fused_logits", mixed), atol=1e-4)


def test_attention_is_small() -> None:
    dims = {"audio": 128, "video": 128, "text": 312}
    fusion = registry.load("fusions", "cross_attention")(STREAMS, 7, dims)
    assert fusion.count_params() < 250_000


def test_heads_must_share_a_token_evenly() -> None:
    with pytest.raises(UserError, match="token_dim=50: must be a multiple of num_heads=4"):
        registry.load("fusions", "cross_attention")(STREAMS, NUM_CLASSES, DIMS, token_dim=50)


# === Calibrated late fusion ===


def late(streams: tuple[str, ...] = ("audio", "video")) -> keras.Model:
    return registry.load("fusions", "calibrated_late")(
        streams, NUM_CLASSES, {s: DIMS[s] for s in streams}
    )


def test_late_by_hand() -> None:
    fusion = late()
    layer = fusion.get_layer("late")
    layer.temperatures.assign([2.0, 0.5])
    layer.stream_weights.assign([0.7, 0.3])
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
    layer.stream_weights.assign([0.9, 0.1])
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
    layer.calibrate(logits, everywhere, truth, np.arange(len(truth)))
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
    layer.calibrate([good, noise], [np.ones(len(truth), bool)] * 2, truth, np.arange(len(truth)))
    told = layer.settings(("audio", "video"))
    assert told["weight"]["video"] < 0.1
    assert told["temperature"]["video"] > 5
    assert told["sharpness"] * told["weight"]["audio"] == pytest.approx(1.0, rel=0.15)


def test_calibrating_takes_each_stream_where_it_is() -> None:
    logits, truth = drawn(3000, (3.0, 1.0))
    half = np.arange(len(truth)) < 2000
    logits[1] = np.where(half[:, None], logits[1], 50.0)  # nonsense where it is missing
    layer = late().get_layer("late")
    layer.calibrate(logits, [np.ones(len(truth), bool), half], truth, np.arange(len(truth)))
    told = layer.settings(("audio", "video"))
    assert told["temperature"]["audio"] == pytest.approx(3.0, rel=0.1)
    assert told["temperature"]["video"] == pytest.approx(1.0, rel=0.1)
