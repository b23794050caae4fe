"""What all changes of spectrograms promise, and the exact effect of `vtlp` and `mix_style`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import ROOT

keras = pytest.importorskip("keras")

from affectstream.core import registry  # noqa: E402
from affectstream.data_augmentation.chain import parse_transforms  # noqa: E402
from affectstream.data_augmentation.spectrogram.mix_style import MixStyle  # noqa: E402
from affectstream.data_augmentation.spectrogram.spectrogram_transform import SpectrogramTransform  # noqa: E402
from affectstream.data_augmentation.spectrogram.vtlp import Vtlp  # noqa: E402
from affectstream.data_augmentation.transform import Transform  # noqa: E402
from affectstream.modeling.recipes.audio import RESNET_ASP_AUDIO  # noqa: E402
from affectstream.modeling.runs.checkpoints import save_model  # noqa: E402
from affectstream.modeling.training.trainer import Trainer  # noqa: E402
from tests.support.precision import needs_float16_on_cpu  # noqa: E402

NAMES = [
    name
    for name in registry.names("transforms")
    if registry.entry("transforms", name).stream == "features"
]


def spectrogram(batch_size: int = 4, bands: int = 20, frames: int = 30) -> np.ndarray:
    rng = np.random.default_rng(1)
    levels = np.linspace(-2, 2, batch_size)[:, None, None]
    return (levels + rng.normal(size=(batch_size, bands, frames))).astype(np.float32)


def numpy(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def made(name: str, **settings: Any) -> Any:
    return registry.load("transforms", name)(**settings)


# === The contract ===


def test_all_are_layers_and_transforms() -> None:
    assert NAMES == ["spec_augment", "vtlp", "mix_style"]
    for name in NAMES:
        layer = made(name)
        assert isinstance(layer, SpectrogramTransform)
        assert layer.transform_name == name
        assert issubclass(type(layer), Transform)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_channel", [False, True])
def test_only_training_and_only_by_chance(name: str, with_channel: bool) -> None:
    given = spectrogram()[..., None] if with_channel else spectrogram()
    layer = made(name, probability=1.0)
    np.testing.assert_array_equal(numpy(layer(given)), given)
    np.testing.assert_array_equal(numpy(layer(given, training=False)), given)
    changed = numpy(layer(given, training=True))
    assert changed.shape == given.shape
    assert (changed != given).any(axis=tuple(range(1, given.ndim))).sum() >= 3
    never = made(name, probability=0.0)
    np.testing.assert_allclose(numpy(never(given, training=True)), given, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_chance_of_each_example(name: str) -> None:
    given = spectrogram(batch_size=400)
    changed = numpy(made(name, probability=0.25)(given, training=True))
    share = (np.abs(changed - given).max(axis=(1, 2)) > 1e-4).mean()
    assert 0.15 < share < 0.35


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_the_same_changes(name: str) -> None:
    given = spectrogram()
    first, same, other = made(name, seed=5), made(name, seed=5), made(name, seed=6)
    drawn = [numpy(layer(given, training=True)) for layer in (first, same, other)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert (numpy(first(given, training=True)) != drawn[0]).any(), "call by call anew"
    for layer in (first, same):
        layer.begin_epoch(7)
    one, other = (numpy(layer(given, training=True)) for layer in (first, same))
    np.testing.assert_array_equal(one, other)


@needs_float16_on_cpu
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_keeps_its_dtype(name: str) -> None:
    changed = made(name, dtype="mixed_float16")(spectrogram().astype(np.float16), training=True)
    assert keras.backend.standardize_dtype(changed.dtype) == "float16"
    assert np.isfinite(numpy(changed)).all()


def test_saved_and_read_again_in_a_fresh_process(tmp_path: Path) -> None:
    """Where nothing but `load_model` makes the layers known."""
    given = keras.Input((20, 30))
    x = given
    for name in NAMES:
        x = made(name, probability=0.5, seed=9)(x)
    model = keras.Model(given, x)
    save_model(model, tmp_path / "model.keras")
    told = [layer.get_config() for layer in model.layers[1:]]
    code = (
        "import json, sys; from affectstream.modeling.runs.checkpoints import load_model;"
        "model = load_model(__import__('pathlib').Path(sys.argv[1]));"
        "print(json.dumps([layer.get_config() for layer in model.layers[1:]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads(json.dumps(told))


def test_layers_of_one_model_draw_apart_while_training() -> None:
    """And the same training draws alike, epoch by epoch."""
    text = "vtlp:probability=0.5,mix_style:probability=0.5"
    recipe = replace(RESNET_ASP_AUDIO.with_training(ema_momentum=0.0), transforms=text)
    given = keras.Input((20, 30))
    x = given
    for transform in parse_transforms(text):
        assert isinstance(transform, SpectrogramTransform)
        x = transform(x)
    outputs = {"logits": keras.layers.Dense(2)(keras.layers.Flatten()(x))}
    model = keras.Model(given, outputs)
    first, second = (layer for layer in model.layers if isinstance(layer, SpectrogramTransform))
    drawn = []
    for seed in (0, 0, 1):
        trainer = Trainer(model, recipe, np.ones(2, np.float32), 10, seed)
        trainer._begin_epoch(3)
        drawn.append([numpy(layer.sample_selection(400)).ravel() for layer in (first, second)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert 0.4 < (drawn[0][0] == drawn[0][1]).mean() < 0.6, "layers agree by chance only"
    assert 0.4 < (drawn[0][0] == drawn[2][0]).mean() < 0.6, "so do seeds"


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_and_probabilities_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs .batch, bands, frames"):
        made(name)(np.zeros((16, 30), np.float32), training=True)
    with pytest.raises(ValueError, match="probability must lie in"):
        made(name, probability=1.5)


def test_bounds_of_their_own() -> None:
    with pytest.raises(ValueError, match="max_warp must lie in"):
        Vtlp(max_warp=0.6)
    with pytest.raises(ValueError, match="alpha must lie in"):
        MixStyle(alpha=0)
    warp, style = parse_transforms("vtlp:max_warp=0.2,mix_style:alpha=0.1:probability=1")
    assert isinstance(warp, Vtlp) and isinstance(style, MixStyle)
    assert (warp.max_warp, style.alpha, style.probability) == (0.2, 0.1, 1.0)


# === What they do ===


def test_vtlp_moves_a_band_by_its_factor() -> None:
    given = np.zeros((3, 41, 5), np.float32)
    given[:, 22] = 1.0
    warp = np.array([[1.0], [1.1], [0.8]], np.float32)
    moved = numpy(Vtlp().apply_warp(given, warp))
    np.testing.assert_allclose(moved[0], given[0], atol=1e-6)
    np.testing.assert_allclose(moved[1, 20], 1.0, atol=1e-5)
    assert moved[1, 22].max() < 1e-5
    # 27 * 0.8 = 21.6 and 28 * 0.8 = 22.4: each keeps 0.6 of the band.
    np.testing.assert_allclose(moved[2, 27:29], 0.6, atol=1e-5)


@pytest.mark.parametrize("warp", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_vtlp_keeps_the_ends_and_the_order(warp: float) -> None:
    """A ramp shows which band each one comes from."""
    ramp = np.broadcast_to(np.arange(41, dtype=np.float32)[None, :, None], (1, 41, 4))
    source = numpy(Vtlp().apply_warp(ramp, np.array([[warp]], np.float32)))[0, :, 0]
    assert source[0] == pytest.approx(0, abs=1e-4)
    assert source[-1] == pytest.approx(40, abs=1e-4)
    assert (np.diff(source) > 0).all()
    np.testing.assert_allclose(source[:15], warp * np.arange(15), atol=1e-3)


def test_mix_style_gives_the_statistics_of_the_other() -> None:
    given = spectrogram(2)
    share, partner = np.array([[0.0], [1.0]], np.float32), np.array([1, 0], np.int32)
    mixed = numpy(MixStyle().apply_mix(given, share, partner))
    np.testing.assert_allclose(mixed[1], given[1], atol=1e-5)
    for statistic in (np.mean, np.std):
        np.testing.assert_allclose(statistic(mixed[0], 1), statistic(given[1], 1), atol=1e-4)

    def shape(values: np.ndarray) -> np.ndarray:
        return (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)

    np.testing.assert_allclose(shape(mixed[0]), shape(given[0]), atol=1e-3)


def test_mix_style_keeps_half_of_its_own() -> None:
    """The share of the own statistics never falls below a half."""
    given = np.zeros((64, 4, 6), np.float32) + np.arange(64, dtype=np.float32)[:, None, None]
    mixed = numpy(MixStyle(probability=1.0)(given, training=True))[:, 0, 0]
    own, count = given[:, 0, 0], 63
    assert (mixed >= own / 2 - 1e-3).all()
    assert (mixed <= (own + count) / 2 + 1e-3).all()
    assert np.abs(mixed - own).max() > 5


def test_mix_style_of_a_constant_band_is_finite() -> None:
    given = spectrogram()
    given[:, 3] = 1.0
    assert np.isfinite(numpy(MixStyle(probability=1.0)(given, training=True))).all()
