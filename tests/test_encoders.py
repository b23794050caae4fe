"""One contract for every encoder of the registry, and what is S2's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import registry
from modeling.encoders.s2_video import s2_face
from modeling.input_spec import InputSpec
from modeling.layers import know_all_layers
from modeling.recipes import S2_AUDIO, S2_VIDEO, Recipe
from modeling.stream_model import build_stream_model
from modeling.training import Trainer, load_model, save_model
from tests import models

ENCODERS = registry.names("encoders")
NUM_CLASSES = 4
EMBEDDING_DIM = 6
SHAPES: dict[str, tuple[Any, ...]] = {"audio": (32, 48, 1), "video": (None, 32, 32, 1)}
PARAMETERS = {"s2_audio": 387_335, "s2_video": 2_030_215}
FULL_SHAPES = {"audio": (128, 282, 1), "video": (None, 112, 112, 1)}


def build(name: str, embedding_dim: int = EMBEDDING_DIM) -> keras.Model:
    """A small one, with weights that tell rows apart."""
    keras.utils.set_random_seed(3)
    shape = SHAPES[registry.entry("encoders", name).stream]
    model = registry.load("encoders", name)(shape, NUM_CLASSES, embedding_dim=embedding_dim)
    for variable in model.weights:  # as after a training
        if "moving_mean" in variable.name:
            variable.assign(keras.random.normal(variable.shape, 0, 0.1, seed=1))
    return model


def example(name: str, num_rows: int = 3) -> Any:
    """Inputs of a small encoder; each video row has frames to skip."""
    rng = np.random.default_rng(5)
    if registry.entry("encoders", name).stream == "audio":
        return rng.normal(size=(num_rows, *SHAPES["audio"])).astype(np.float32)
    frames = rng.uniform(size=(num_rows, 4, *SHAPES["video"][1:])).astype(np.float32)
    mask = np.ones((num_rows, 4), bool)
    mask[:, 1] = False
    return [frames, mask]


def answer(model: keras.Model, given: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in model(given, training=False).items()}


def rows(given: Any, which: slice) -> Any:
    return [part[which] for part in given] if isinstance(given, list) else given[which]


# === The contract ===


@pytest.mark.parametrize("name", ENCODERS)
def test_what_it_gives(name: str) -> None:
    made = answer(build(name), example(name))
    assert set(made) == {"logits", "embedding"}
    assert made["logits"].shape == (3, NUM_CLASSES)
    assert made["embedding"].shape == (3, EMBEDDING_DIM)
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    assert np.isfinite(made["logits"]).all()
    assert np.ptp(made["logits"], axis=0).min() > 0  # rows differ


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    model, given = build(name), example(name)
    whole, alone = answer(model, given), answer(model, rows(given, slice(1, 2)))
    for key, value in alone.items():
        np.testing.assert_allclose(value[0], whole[key][1], atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_saved_and_read_again(name: str, tmp_path: Path) -> None:
    model, given = build(name), example(name)
    save_model(model, tmp_path / "encoder.keras")
    know_all_layers()
    again = answer(load_model(tmp_path / "encoder.keras"), given)
    for key, value in answer(model, given).items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize("name", ENCODERS)
def test_dropout_only_while_training(name: str) -> None:
    model, given = build(name), example(name)
    np.testing.assert_array_equal(answer(model, given)["logits"], answer(model, given)["logits"])
    trained = [np.asarray(model(given, training=True)["logits"]) for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-6


@pytest.mark.parametrize("name", ENCODERS)
def test_learns_one_batch_by_heart(name: str) -> None:
    model = build(name, embedding_dim=32)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # a few steps must do
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            layer.rate = 0.05
    given, truth = example(name, NUM_CLASSES), np.arange(NUM_CLASSES)
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = model(given, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    first = float(step())
    for _ in range(60):
        last = float(step())
    assert last < 0.5 * first
    assert (answer(model, given)["logits"].argmax(axis=1) == truth).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_number_of_parameters(name: str) -> None:
    shape = FULL_SHAPES[registry.entry("encoders", name).stream]
    assert registry.load("encoders", name)(shape, 7).count_params() == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in registry.entry("encoders", name).summary


@pytest.mark.parametrize("recipe", [S2_AUDIO, S2_VIDEO], ids=lambda recipe: recipe.name)
def test_half_precision(recipe: Recipe, tmp_path: Path) -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        spec = InputSpec(models.RATE_HZ, models.SIZE_PX, 1)
        model = build_stream_model(recipe, NUM_CLASSES, spec).whole
        trainer = Trainer(model, recipe, np.ones(NUM_CLASSES, np.float32), 10)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert "float16" in {layer.compute_dtype for layer in model._flatten_layers()}
    rng = np.random.default_rng(0)
    given = {
        "audio": rng.normal(0, 0.1, (2, 4000)).astype(np.float32),
        "audio_length": np.array([4000, 4000], np.int32),
        "video": rng.integers(0, 255, (2, 1, 32, 32, 1)).astype(np.uint8),
        "video_mask": np.ones((2, 1), bool),
    }
    given = {name: tf.constant(given[name]) for name in model.input}
    start = [np.asarray(v) for v in model.trainable_variables]
    for _ in range(6):  # the first steps overflow and lower the scale of the loss
        loss, _ = trainer._train_step(given, tf.one_hot([0, 1], NUM_CLASSES))
        assert np.isfinite(float(loss))
    made = answer(model, given)
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    now = [np.asarray(v) for v in model.trainable_variables]
    assert any((a != b).any() for a, b in zip(now, start, strict=True))
    assert all(np.isfinite(np.asarray(v)).all() for v in model.variables)
    save_model(model, tmp_path / "half.keras")
    again = answer(load_model(tmp_path / "half.keras"), given)
    np.testing.assert_array_equal(again["logits"], made["logits"])


# === A clip is the mean over its faces ===


def test_masked_frames_change_nothing() -> None:
    model = build("s2_video")
    frames, mask = example("s2_video")
    before = answer(model, [frames, mask])
    frames = frames.copy()
    frames[~mask] = 1e3
    for key, value in answer(model, [frames, mask]).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)
    cut = [np.delete(frames, 1, axis=1), np.delete(mask, 1, axis=1)]
    for key, value in answer(model, cut).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_order_of_frames_changes_nothing() -> None:
    model = build("s2_video")
    frames, mask = example("s2_video")
    order = [2, 0, 3, 1]
    before = answer(model, [frames, mask])
    for key, value in answer(model, [frames[:, order], mask[:, order]]).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_the_mean_is_over_probabilities() -> None:
    model = build("s2_video")
    frames, mask = example("s2_video")
    single = model.get_layer("s2_face")
    probabilities, embeddings = [], []
    for row in range(len(frames)):
        made = answer(single, frames[row][mask[row]])
        shares = np.exp(made["logits"]) / np.exp(made["logits"]).sum(axis=1, keepdims=True)
        probabilities.append(shares.mean(axis=0))
        embeddings.append(made["embedding"].mean(axis=0))
    made = answer(model, [frames, mask])
    np.testing.assert_allclose(np.exp(made["logits"]), probabilities, atol=1e-6)
    np.testing.assert_allclose(made["embedding"], embeddings, atol=1e-5)


def test_a_clip_without_a_face_says_nothing() -> None:
    model = build("s2_video")
    frames, mask = example("s2_video")
    mask = mask.copy()
    mask[0] = False
    made = answer(model, [frames, mask])
    assert np.ptp(made["logits"][0]) == 0
    np.testing.assert_array_equal(made["embedding"][0], 0)
    empty = answer(model, [frames[:, :0], mask[:, :0]])
    assert np.ptp(empty["logits"]) == 0


def test_one_frame_alone_is_the_face_network() -> None:
    clip, single = build("s2_video"), s2_face((32, 32, 1), NUM_CLASSES, EMBEDDING_DIM)
    single.set_weights(clip.get_layer("s2_face").get_weights())
    frames, _ = example("s2_video")
    as_clips = answer(clip, [frames[:, :1], np.ones((3, 1), bool)])["logits"]
    logits = answer(single, frames[:, 0])["logits"]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(as_clips, log_shares, atol=1e-5)
