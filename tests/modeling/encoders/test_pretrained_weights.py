"""Weights made elsewhere: YAMNet's in both forms, VGG19's, and files that are not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from affectstream.modeling import layer_names
from affectstream.modeling.encoders.audio.vgg19 import vgg19
from affectstream.modeling.encoders.audio.yamnet import (
    audioset_class_names,
    yamnet,
    yamnet_base,
    yamnet_classifier,
)
from affectstream.modeling.features.audio.yamnet_patches import YAMNET_PATCHES, YamnetPatches
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_tree import all_layers

CLIP = "ravdess/Actor_01/03-01-01-01-01-01-01.flac"
PICTURE = (32, 40, 1)
PATCH = (96, 64)

# === YAMNet: real weights ===


@pytest.fixture(scope="module")
def speech(real_data: Path) -> np.ndarray:
    """3.3 s of RAVDESS, (52853,) float32 at 16 kHz."""
    waveform, rate_hz = soundfile.read(real_data / CLIP, dtype="float32")
    assert (rate_hz, waveform.shape) == (16_000, (52_853,))
    return waveform


@pytest.fixture(scope="module")
def weights(real_models: Path) -> Path:
    return real_models / "yamnet"


@pytest.fixture(scope="module")
def official(weights: Path) -> Any:
    """The SavedModel itself: waveform -> scores, embeddings, log-mel."""
    return tf.saved_model.load(str(weights / "saved_model"))


@pytest.fixture(scope="module")
def front() -> keras.Model:
    raw = InputSpec(sample_rate_hz=16_000).inputs("audio")
    made = YAMNET_PATCHES.connect(raw, InputSpec(sample_rate_hz=16_000))
    return keras.Model(raw, {"features": made.values, "mask": made.mask})


def looked_at(front: keras.Model, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    given = {"audio": waveform[None], "audio_length": np.array([len(waveform)], np.int32)}
    made = front(given)
    return made["features"].numpy()[0], made["mask"].numpy()[0]


@pytest.mark.real
@pytest.mark.parametrize("form", ["yamnet.h5", "saved_model"])
def test_both_forms_say_what_the_saved_model_says(
    form: str, weights: Path, official: Any, speech: np.ndarray, front: keras.Model
) -> None:
    scores, embeddings, _ = (np.asarray(part) for part in official(speech))
    patches, mask = looked_at(front, speech)
    assert mask.sum() == len(scores) == 6
    made = yamnet_classifier(str(weights / form))(patches)
    np.testing.assert_allclose(made["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(made["embedding"], embeddings, atol=1e-4)


@pytest.mark.real
def test_speech_is_heard_as_speech(weights: Path, speech: np.ndarray, front: keras.Model) -> None:
    names = audioset_class_names(weights / "yamnet_class_map.csv")
    model = yamnet_classifier(str(weights / "yamnet.h5"))
    assert model.count_params() == 3_751_369
    patches, mask = looked_at(front, speech)
    scores = model(patches[mask])["scores"].numpy().mean(axis=0)
    assert names[scores.argmax()] == "Speech"
    assert scores.max() > 0.5


@pytest.mark.real
@pytest.mark.parametrize("num_samples", [1, 4_800, 15_600, 15_601, 30_000, 52_853])
def test_patches_are_those_of_yamnet(
    num_samples: int, official: Any, speech: np.ndarray, front: keras.Model
) -> None:
    waveform = speech[-num_samples:]
    log_mel = np.asarray(official(waveform)[2])
    patches, mask = looked_at(front, waveform)
    count = int(mask.sum())
    assert mask[:count].all()
    assert len(log_mel) == 96 + 48 * (count - 1)
    for place in range(count):
        wanted = log_mel[48 * place : 48 * place + 96]
        np.testing.assert_allclose(patches[place], wanted, atol=1e-4)


def test_a_longer_clip_is_cut_and_a_missing_one_masked(front: keras.Model) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    assert YAMNET_PATCHES.window_samples == 54_000
    assert front.output["features"].shape[1:] == YAMNET_PATCHES.output_shape == (6, 96, 64)
    patches, mask = looked_at(front, waveform)
    assert mask.all()
    np.testing.assert_array_equal(patches, YamnetPatches()(waveform[None, 8_000:62_000])[0])
    silent, none = looked_at(front, waveform[:0])
    assert not none.any()
    np.testing.assert_allclose(silent, np.log(0.001), atol=1e-5)


def test_patches_refuse_a_batch_of_another_rank() -> None:
    with pytest.raises(ValueError, match="received shape"):
        YamnetPatches()(np.zeros((2, 16_000, 1), np.float32))


@pytest.mark.real
@pytest.mark.parametrize("form", ["yamnet.h5", "saved_model"])
def test_encoder_averages_yamnets_embeddings(form: str, weights: Path) -> None:
    model = yamnet((3, *PATCH), 4, weights=str(weights / form), trainable=False)
    patches = np.random.default_rng(0).normal(-3, 1, (2, 3, *PATCH)).astype(np.float32)
    mask = np.array([[True, True, False], [True, False, False]])
    pooled = keras.Model(model.input, model.get_layer("mean_over_patches").output)
    base = yamnet_base(str(weights / "yamnet.h5"))
    wanted = [base(patches[0, :2]).numpy().mean(axis=0), base(patches[1, :1]).numpy()[0]]
    np.testing.assert_allclose(pooled([patches, mask]), wanted, atol=1e-4)


# === What may learn ===


def batch_norms(model: keras.Model) -> list[Any]:
    layers = all_layers(model)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_a_frozen_yamnet_stays_as_it_is() -> None:
    model = yamnet((2, *PATCH), 4, weights="none", trainable=False, dropout=0.0)
    assert len(model.trainable_variables) == 4  # the two dense layers of its head
    assert [layer.name for layer in model.layers if "base" in layer.name] == ["frozen_base"]
    given = [np.random.default_rng(0).normal(size=(2, 2, *PATCH)), np.ones((2, 2), bool)]
    before = model.get_layer("frozen_base").get_weights()
    trained = model(given, training=True)["logits"]
    np.testing.assert_array_equal(trained, model(given, training=False)["logits"])
    for now, then in zip(model.get_layer("frozen_base").get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_yamnet_that_learns_can_be_held_still() -> None:
    model = yamnet((2, *PATCH), 4, weights="none", dropout=0.0)
    base = model.get_layer(layer_names.BASE)
    assert len(model.trainable_variables) == 4 + 27 * 2  # a kernel and a shift each
    assert len(batch_norms(model)) == 27
    base.trainable = False
    assert len(model.trainable_variables) == 4
    given = [np.random.default_rng(0).normal(size=(2, 2, *PATCH)), np.ones((2, 2), bool)]
    still = model(given, training=True)["logits"]
    np.testing.assert_array_equal(still, model(given, training=False)["logits"])
    base.trainable = True
    assert np.abs(model(given, training=True)["logits"] - still).max() > 0


@pytest.mark.parametrize(
    ("num_blocks", "parts", "num_kernels"),
    [(0, ["frozen_base"], 0), (2, ["frozen_base", "base"], 8), (5, ["base"], 16)],
)
def test_vgg19_learns_from_the_last_blocks_down(
    num_blocks: int, parts: list[str], num_kernels: int
) -> None:
    model = vgg19(PICTURE, 4, 8, weights="none", trainable_blocks=num_blocks, dropout=0.0)
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in nested] == parts
    assert sum(layer.count_params() for layer in nested) == 20_024_384
    assert len(model.trainable_variables) == 2 * num_kernels + 4
    picture = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, *PICTURE)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(picture, training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_vgg19_is_kerass_own_on_three_colours() -> None:
    shape = (32, 40, 3)
    model = vgg19(shape, 4, weights="none", trainable_blocks=2)
    theirs = keras.applications.VGG19(include_top=False, weights=None, input_shape=shape)
    theirs.set_weights(
        [*model.get_layer("frozen_base").get_weights(), *model.get_layer("base").get_weights()]
    )
    rgb = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)
    maps = theirs(keras.applications.vgg19.preprocess_input(rgb.copy()))
    pooled = keras.Model(model.input, model.get_layer("pooled").output)
    np.testing.assert_allclose(pooled(rgb), maps.numpy().mean(axis=(1, 2)), rtol=1e-4, atol=1e-4)
    grey = vgg19((32, 40, 1), 4, weights="none", trainable_blocks=2)
    grey.set_weights(model.get_weights())
    three = np.repeat(rgb[..., :1], 3, axis=-1)
    np.testing.assert_allclose(
        grey(rgb[..., :1])["logits"], model(three)["logits"], rtol=1e-4, atol=1e-4
    )
