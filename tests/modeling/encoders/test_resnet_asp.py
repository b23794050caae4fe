"""The residual CNN with attentive statistics, and the picture that it looks at."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.encoders.audio.resnet_asp import AttentiveStatistics, resnet_asp
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.audio import RESNET_ASP_AUDIO
from affectstream.modeling.recipes.sizes import recipe_sizes
from affectstream.modeling.runs.checkpoints import load_model, save_model
from tests.modeling.features.test_log_mel import TOLERANCE_DB, reference, signals

SMALL = (32, 40, 1)


def pooled(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    layer = AttentiveStatistics()
    return np.asarray(layer(values.astype(np.float32), scores.astype(np.float32)))


@pytest.fixture
def frames() -> np.ndarray:
    """(2, 6, 3), of a mean away from 0."""
    return np.random.default_rng(2).normal(1.0, 2.0, (2, 6, 3))


# === Pooling ===


def test_statistics_by_hand(frames: np.ndarray) -> None:
    scores = np.random.default_rng(3).normal(0, 2, frames.shape)
    made = pooled(frames, scores)
    assert made.shape == (2, 6) and made.dtype == np.float32
    for row in range(2):
        for channel in range(3):
            weights = np.exp(scores[row, :, channel])
            weights /= weights.sum()
            own = frames[row, :, channel]
            mean = (weights * own).sum()
            deviation = np.sqrt((weights * (own - mean) ** 2).sum())
            assert made[row, channel] == pytest.approx(mean, rel=1e-5, abs=1e-5)
            assert made[row, 3 + channel] == pytest.approx(deviation, rel=1e-4)


def test_equal_scores_are_a_plain_mean_and_deviation(frames: np.ndarray) -> None:
    wanted = np.concatenate([frames.mean(axis=1), frames.std(axis=1)], axis=1)
    for score in (0.0, 7.0, -300.0):
        made = pooled(frames, np.full_like(frames, score))
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_a_channel_weighs_frames_in_its_own_way(frames: np.ndarray) -> None:
    scores = np.zeros_like(frames)
    scores[:, 4, 1] = 60.0  # all of channel 1's attention on frame 4
    made = pooled(frames, scores)
    np.testing.assert_allclose(made[:, 1], frames[:, 4, 1], rtol=1e-5)
    np.testing.assert_allclose(made[:, 0], frames[:, :, 0].mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made[:, 4], np.sqrt(1e-5), atol=3e-3)


def test_frames_that_do_not_differ_have_a_finite_gradient() -> None:
    values = keras.Variable(np.full((1, 5, 2), 3.0, np.float32))
    with tf.GradientTape() as tape:
        made = AttentiveStatistics()(values, keras.ops.zeros((1, 5, 2)))
        total = tf.reduce_sum(made)
    np.testing.assert_allclose(made[0, 2:], np.sqrt(1e-5), atol=3e-3)
    assert np.isfinite(tape.gradient(total, values.value).numpy()).all()


def test_the_shape_is_known_beforehand() -> None:
    symbolic = AttentiveStatistics()(keras.Input((None, 24)), keras.Input((None, 24)))
    assert symbolic.shape == (None, 48)


# === Network ===


def test_parameters_as_documented() -> None:
    model = resnet_asp((80, 301, 1), 7)
    assert model.count_params() == 257_591
    assert model.output["embedding"].shape == (None, 192)
    assert recipe_sizes()["resnet-asp-audio"].parameters == 257_591
    # All but the head, which grows by a column a class.
    assert resnet_asp((80, 301, 1), 8).count_params() == 257_591 + 192 + 1


def test_plain_mean_pooling() -> None:
    model = resnet_asp(SMALL, 7, pooling="mean")
    assert model.output["embedding"].shape == (None, 96)
    assert not any(isinstance(layer, AttentiveStatistics) for layer in model.layers)
    with pytest.raises(UserError, match="pooling=max: must be attentive or mean"):
        resnet_asp(SMALL, 7, pooling="max")


def test_joined_bands_have_weights_of_their_own() -> None:
    """Their mean has one weight a channel, at whatever pitch."""
    joined = resnet_asp((80, 301, 3), 8, bands="joined", channels="32,48,64,96")
    assert joined.get_layer("bands").kernel.shape == (5 * 96, 128)  # 80 bands, four strides of 2
    assert joined.count_params() == 348_152
    assert joined.output["embedding"].shape == (None, 256)
    with pytest.raises(ValueError, match="bands"):
        resnet_asp((80, 301, 3), 8).get_layer("bands")


@pytest.mark.parametrize("channels", ["", "1,2,3", "1,2,3,0", "1,2,3,4,5", "a,b,c,d", "1, 2,3,4"])
def test_channels_and_bands_that_cannot_be(channels: str) -> None:
    with pytest.raises(UserError, match=f"channels={channels}: must be 4 numbers"):
        resnet_asp(SMALL, 7, channels=channels)
    with pytest.raises(UserError, match="bands=max: must be mean or joined"):
        resnet_asp(SMALL, 7, bands="max")


@pytest.mark.parametrize("width", [1, 8, 24])
def test_width_scales_the_channels(width: int) -> None:
    model = resnet_asp(SMALL, 7, width=width)
    assert model.output["embedding"].shape == (None, 12 * width)
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    assert stem.filters == width


def test_it_takes_any_length_and_keeps_it_when_saved(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    model = resnet_asp(SMALL, 4, width=4)
    given = np.random.default_rng(0).normal(size=(3, *SMALL)).astype(np.float32)
    made = {name: np.asarray(v) for name, v in model(given, training=False).items()}
    assert made["logits"].shape == (3, 4) and np.ptp(made["logits"], axis=0).min() > 0
    save_model(model, tmp_path / "encoder.keras")
    again = load_model(tmp_path / "encoder.keras")(given, training=False)
    for name, value in made.items():
        np.testing.assert_array_equal(np.asarray(again[name]), value)


@pytest.mark.parametrize("shape", [(15, 40, 1), (32, 15, 1), (276,), (None, 40, 1)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="resnet_asp") as raised:
        resnet_asp(shape, 7)  # type: ignore[arg-type]
    assert str(shape) in str(raised.value) and "\n" not in str(raised.value)


# === Picture ===


def test_the_picture_is_librosas() -> None:
    config = registry.load("features", "speech_80")
    batch = np.stack([w for _, w in signals(config)]).astype(np.float32)
    made = np.asarray(config.build()(batch))
    assert made.shape[1:] == (80, 301)
    for waveform, picture in zip(batch, made, strict=True):
        assert np.abs(picture - reference(waveform, config)).max() < TOLERANCE_DB
    layer = config.build()
    layer.build((None, config.window_samples))
    assert (layer._filters.max(axis=0) > 0).all()  # no filter is empty
    assert config.hop_samples / config.sample_rate_hz == 0.01


def test_the_recipe_builds_from_sound() -> None:
    built = build_stream_model(RESNET_ASP_AUDIO, 8, InputSpec(16_000))
    given = {"audio": np.zeros((2, 30_000), np.float32), "audio_length": np.array([30_000, 9])}
    made = built.whole(given, training=False)
    assert made["logits"].shape == (2, 8)
    assert np.isfinite(np.asarray(made["logits"])).all()
    assert built.front.output["features"].shape == (None, 80, 301, 1)
