"""One contract for every encoder of the registry, and the sizes of the two-stream networks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core import registry, tf_setup
from affectstream.core.errors import UserError
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.models.custom_objects import register_custom_objects
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from affectstream.modeling.runs.checkpoints import load_model, save_model
from affectstream.modeling.training.trainer import Trainer
from tests.support import encoder_cases, models
from tests.support.encoder_cases import CASES
from tests.support.precision import needs_float16_on_cpu

pytestmark = pytest.mark.slow

ENCODERS = registry.names("encoders")
MASKED = [name for name in ENCODERS if CASES[name].num_frames is not None]
NUM_CLASSES = 4
EMBEDDING_DIM = 6


def build(name: str, embedding_dim: int = EMBEDDING_DIM, **settings: Any) -> keras.Model:
    """A small one, with weights that tell rows apart."""
    keras.utils.set_random_seed(3)
    model = encoder_cases.build(name, NUM_CLASSES, embedding_dim, **settings)
    for variable in model.weights:  # as after a training
        if "moving_mean" in variable.name:
            variable.assign(keras.random.normal(variable.shape, 0, 0.1, seed=1))
    return model


@functools.cache
def built(name: str) -> keras.Model:
    """The same once for several tests, which only ask it (`training=False`)."""
    return build(name)


def example(name: str, num_rows: int = 3) -> Any:
    """Inputs of a small encoder; where it takes a mask, each row has a frame to skip."""
    case, rng = CASES[name], np.random.default_rng(5)
    if case.num_frames is None:
        return (case.scale * rng.normal(size=(num_rows, *case.shape))).astype(np.float32)
    shape = (num_rows, case.num_frames, *case.shape[1:])
    if case.vocabulary_size:
        mask = np.ones(shape, bool)
        mask[:, 1] = False
        return [rng.integers(1, case.vocabulary_size, shape).astype(np.int32), mask]
    frames = rng.uniform(size=shape) if name == "elu_cnn" else rng.normal(size=shape)
    mask = np.ones(shape[:2], bool)
    mask[:, 1] = False
    return [(case.scale * frames).astype(np.float32), mask]


def answer(model: keras.Model, given: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in model(given, training=False).items()}


def rows(given: Any, which: slice) -> Any:
    return [part[which] for part in given] if isinstance(given, list) else given[which]


# === The contract ===


@pytest.mark.parametrize("name", ENCODERS)
def test_built_first_in_a_process(name: str) -> None:
    """Where Keras counts the names that it gives from the beginning."""
    keras.backend.clear_session()
    layers = [layer.name for layer in build(name).layers]
    assert len(layers) == len(set(layers))


@pytest.mark.parametrize("name", ENCODERS)
def test_what_it_gives(name: str) -> None:
    made = answer(built(name), example(name))
    assert set(made) == {"logits", "embedding"}
    assert made["logits"].shape == (3, NUM_CLASSES)
    assert made["embedding"].shape == (3, EMBEDDING_DIM)
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    assert np.isfinite(made["logits"]).all()
    assert np.ptp(made["logits"], axis=0).min() > 0  # rows differ


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    model, given = built(name), example(name)
    whole, alone = answer(model, given), answer(model, rows(given, slice(1, 2)))
    for key, value in alone.items():
        np.testing.assert_allclose(value[0], whole[key][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_saved_and_read_again(name: str, tmp_path: Path) -> None:
    model, given = built(name), example(name)
    save_model(model, tmp_path / "encoder.keras")
    register_custom_objects()
    again = answer(load_model(tmp_path / "encoder.keras"), given)
    for key, value in answer(model, given).items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize("name", ENCODERS)
def test_dropout_only_while_training(name: str) -> None:
    model, given = build(name), example(name)
    np.testing.assert_array_equal(answer(model, given)["logits"], answer(model, given)["logits"])
    trained = [np.asarray(model(given, training=True)["logits"]) for _ in range(4)]
    assert np.ptp(trained, axis=0).max() > 1e-6


@pytest.mark.parametrize("name", [name for name in ENCODERS if CASES[name].max_steps])
def test_learns_one_batch_by_heart(name: str) -> None:
    model = build(name, embedding_dim=32)
    for layer in all_layers(model):
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
    for done in range(CASES[name].max_steps):
        last = float(step())
        if last < 0.01 * first and done > 20:  # by then moving averages have come near
            break
    assert last < 0.5 * first
    assert (answer(model, given)["logits"].argmax(axis=1) == truth).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_number_of_parameters(name: str) -> None:
    case = CASES[name]
    model = registry.load("encoders", name)(case.full_shape, 7, **case.full_settings())
    assert model.count_params() == case.parameters


@pytest.mark.parametrize("name", MASKED)
def test_what_the_mask_hides_changes_nothing(name: str) -> None:
    model, (frames, mask) = built(name), example(name)
    before = answer(model, [frames, mask])
    frames = frames.copy()
    frames[~mask] = CASES[name].vocabulary_size - 1 if CASES[name].vocabulary_size else 30.0
    for key, value in answer(model, [frames, mask]).items():
        np.testing.assert_allclose(value, before[key], atol=1e-5)


@pytest.mark.parametrize("name", MASKED)
def test_a_row_without_frames_gives_numbers(name: str) -> None:
    model, (frames, mask) = built(name), example(name)
    mask = mask.copy()
    mask[0] = False
    made = answer(model, [frames, mask])
    assert all(np.isfinite(value).all() for value in made.values())
    kept = answer(model, [frames[1:], mask[1:]])
    np.testing.assert_allclose(made["logits"][1:], kept["logits"], atol=1e-5)


def test_a_face_and_its_mirror_image_are_the_same_to_resnet_face() -> None:
    (faces, mask), different = example("resnet_face"), []
    for flip_tta in (True, False):
        model = build("resnet_face", flip_tta=flip_tta)
        one = answer(model, [faces, mask])["logits"]
        other = answer(model, [faces[:, :, :, ::-1], mask])["logits"]
        different.append(np.abs(one - other).max())
        assert model([faces, mask], training=True)["logits"].shape == (3, NUM_CLASSES)
    assert different[0] < 1e-5 < 1e-3 < different[1]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("alexnet", (56, 64, 1)),
        ("alexnet", (128, 282, 2)),
        ("resnet34", (276,)),
        ("resnet34", (None, 282, 1)),
        ("vgg19", (128, 31, 1)),
        ("yamnet", (6, 64, 96)),
        ("yamnet", (128, 282, 1)),
        ("resnet1d", (94, 52)),
        ("resnet1d", (7,)),
        ("conv1d", (276,)),
        ("lstm", (128, 282, 1)),
        ("lstm", (94, None)),
        ("linear", (94, 52)),
        ("text_cnn", (276,)),
        ("text_transformer", (94, 52)),
        ("bert", (276,)),
        ("tinybert", (94, 52)),
        ("distilbert", (128, 282, 1)),
    ],
)
def test_features_of_another_kind(name: str, shape: tuple[Any, ...]) -> None:
    with pytest.raises(UserError) as caught:
        registry.load("encoders", name)(shape, NUM_CLASSES, **CASES[name].full_settings())
    message = str(caught.value)
    assert name in message
    assert str(shape) in message
    assert "features" in message
    assert "\n" not in message


def test_resnet34_is_the_published_one() -> None:
    model = registry.load("encoders", "resnet34")((64, 64, 3), 7)
    without_head = model.count_params() - 512 * 7 - 7
    moving = sum(v.shape[0] for v in model.weights if "moving" in v.name)
    assert without_head == 21_301_696
    assert without_head - moving == 21_797_672 - 512 * 1000 - 1000  # as counted with 1000 classes
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 3 + 4 + 6 + 3
    assert model.output["embedding"].shape == (None, 512)


@pytest.mark.parametrize("num_layers", [2])
def test_lstms_on_top_of_each_other(num_layers: int) -> None:
    model, (frames, mask) = build("lstm", num_layers=num_layers, units=5), example("lstm")
    assert sum(isinstance(layer, keras.layers.LSTM) for layer in model.layers) == num_layers
    before = answer(model, [frames, mask])
    cut = [np.delete(frames, 1, axis=1), np.delete(mask, 1, axis=1)]
    for key, value in answer(model, cut).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_dark_end_of_a_sequence_is_nothing_to_conv1d() -> None:
    model, (frames, _) = build("conv1d"), example("conv1d")
    longer = np.concatenate([frames, np.full_like(frames, 9.0)], axis=1)
    mask = np.ones(longer.shape[:2], bool)
    mask[:, frames.shape[1] :] = False
    short = answer(model, [frames, np.ones(frames.shape[:2], bool)])
    for key, value in answer(model, [longer, mask]).items():
        np.testing.assert_allclose(value, short[key], atol=1e-6)


@needs_float16_on_cpu
@pytest.mark.parametrize("name", [name for name in ENCODERS if CASES[name].has_half_precision])
def test_half_precision_alone(name: str, tmp_path: Path) -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = build(name)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    made = answer(model, example(name))
    assert made["logits"].dtype == np.float16
    assert np.isfinite(made["logits"]).all()
    wide = build(name)
    wide.set_weights(model.get_weights())
    near = answer(wide, example(name))
    np.testing.assert_allclose(made["logits"], near["logits"], atol=0.05, rtol=0.02)
    save_model(model, tmp_path / "half.keras")
    again = answer(load_model(tmp_path / "half.keras"), example(name))
    np.testing.assert_array_equal(again["logits"], made["logits"])


def test_half_precision_is_read_as_single_where_the_cpu_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = build("relu_cnn")
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    save_model(model, tmp_path / "half.keras")
    monkeypatch.setattr(tf_setup, "cpu_aborts_in_float16", lambda: True)
    read = load_model(tmp_path / "half.keras")
    wide = build("relu_cnn")
    wide.set_weights(model.get_weights())
    given = example("relu_cnn")
    for key, value in answer(wide, given).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(answer(read, given)[key], value)


@needs_float16_on_cpu
@pytest.mark.parametrize("recipe", [RELU_CNN_AUDIO, ELU_CNN_VIDEO], ids=lambda recipe: recipe.name)
def test_recipes_train_in_half_precision(recipe: StreamRecipe, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        spec = InputSpec(models.RATE_HZ, models.SIZE_PX, 1)
        model = build_stream_model(recipe, NUM_CLASSES, spec).whole
        trainer = Trainer(model, recipe, np.ones(NUM_CLASSES, np.float32), 10)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert "float16" in {layer.compute_dtype for layer in all_layers(model)}
    rng = np.random.default_rng(0)
    given = {
        "audio": rng.normal(0, 0.1, (2, 4000)).astype(np.float32),
        "audio_length": np.array([4000, 4000], np.int32),
        "video": rng.integers(0, 255, (2, 1, 32, 32, 1)).astype(np.uint8),
        "video_mask": np.ones((2, 1), bool),
    }
    given = {name: tf.constant(given[name]) for name in model.input}
    start = [np.asarray(v) for v in model.trainable_variables]
    for _ in range(12):  # the first steps overflow and lower the scale of the loss
        loss, _ = trainer._train_steps[False](given, tf.one_hot([0, 1], NUM_CLASSES))
        assert np.isfinite(float(loss))
    made = answer(model, given)
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    now = [np.asarray(v) for v in model.trainable_variables]
    assert any((a != b).any() for a, b in zip(now, start, strict=True))
    assert all(np.isfinite(np.asarray(v)).all() for v in model.variables)
    save_model(model, tmp_path / "half.keras")
    again = answer(load_model(tmp_path / "half.keras"), given)
    np.testing.assert_array_equal(again["logits"], made["logits"])
