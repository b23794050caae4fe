"""Spectrograms of several windows as channels: each is librosa's, and chance hides all alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.spectrogram.spec_augment import SpecAugment
from affectstream.modeling.crossval.leakage import standardise_by_speaker
from affectstream.modeling.features.audio.log_mel import SPEECH_80
from affectstream.modeling.features.audio.multi_resolution import MultiResolution
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import STANDARDISE
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.audio import RESNET_ASP_AUDIO
from tests.modeling.features.test_log_mel import TOLERANCE_DB, reference, signals

RECIPE = RESNET_ASP_AUDIO.with_settings(["features=speech_3x80", "labels=basic7"])


def test_each_channel_is_librosas() -> None:
    front_end = registry.load("features", "speech_3x80")
    built = build_stream_model(RECIPE, 7, InputSpec(sample_rate_hz=16_000))
    waves = np.stack([wave for _, wave in signals(SPEECH_80)]).astype(np.float32)
    start = np.zeros((len(waves), front_end.offset_samples), np.float32)
    lengths = np.full(len(waves), front_end.offset_samples + front_end.window_samples)
    given = {"audio": np.concatenate([start, waves], axis=1), "audio_length": lengths}
    made = np.asarray(built.front(given)["features"])
    assert made.shape[1:] == front_end.output_shape == (80, 301, 3)
    for wave, picture in zip(waves, made, strict=True):
        for place, config in enumerate(front_end.channels):
            assert np.abs(picture[..., place] - reference(wave, config)).max() < TOLERANCE_DB


def test_no_filter_is_empty() -> None:
    for config in registry.load("features", "speech_3x80").channels:
        layer = config.build()
        layer.build((None, config.window_samples))
        assert (layer._filters.max(axis=0) > 0).all()


def test_a_longer_window_parts_the_harmonics_of_a_low_voice() -> None:
    """100 Hz: between two harmonics the third channel falls by more than the first can."""
    front_end = registry.load("features", "speech_3x80")
    at_s = np.arange(front_end.window_samples) / 16_000
    voice = np.sum([np.sin(2 * np.pi * 100 * n * at_s) for n in range(1, 15)], axis=0) / 20
    depths = []
    for config in front_end.channels:
        picture = np.asarray(config.build()(voice[None].astype(np.float32)))[0]
        bands_hz = np.linspace(config.low_hz, config.high_hz, 82)[1:-1]  # roughly: mel is bent
        low = picture[bands_hz < 1000, 150] if config.high_hz <= 1500 else picture[:20, 150]
        depths.append(float(np.percentile(low, 90) - np.percentile(low, 10)))
    assert depths[2] > 20 > depths[0]


def test_each_band_of_each_channel_is_standardised() -> None:
    network = build_stream_model(RECIPE, 7, InputSpec(sample_rate_hz=16_000)).network
    values = np.random.default_rng(0).normal(size=(8, 80, 301, 3)).astype(np.float32)
    values += np.arange(80)[:, None, None] + 100.0 * np.arange(3)
    layer = network.get_layer(STANDARDISE)
    layer.adapt(values)
    made = np.asarray(layer(values))
    np.testing.assert_allclose(made.mean(axis=(0, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(made.std(axis=(0, 2)), 1, atol=1e-3)
    own, speakers = values.copy(), np.array(list("aaaabbbb"))
    standardise_by_speaker(own, speakers, (1, 3))
    for half in (own[:4], own[4:]):
        np.testing.assert_allclose(half.mean(axis=(0, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(half.std(axis=(0, 2)), 1, atol=1e-3)


def test_masks_hide_the_same_places_of_all_channels() -> None:
    given = np.random.default_rng(0).normal(size=(4, 80, 301, 3)).astype(np.float32)
    made = np.asarray(SpecAugment(seed=3, fill_value=0.0)(given, training=True))
    hidden = made == 0
    assert 0.02 < hidden.mean() < 0.6
    assert (hidden == hidden[..., :1]).all()
    np.testing.assert_array_equal(made[~hidden], given[~hidden])


def test_bands_of_other_frequencies_are_not_warped_alike() -> None:
    recipe = RECIPE.with_settings(["transforms=vtlp"])
    with pytest.raises(UserError, match="vtlp is for spectrogram pictures of 1 channels at most"):
        build_stream_model(recipe, 7, InputSpec(sample_rate_hz=16_000))


def test_channels_of_one_picture() -> None:
    with pytest.raises(ValueError, match="the same window, hop and number of mels"):
        MultiResolution((SPEECH_80, replace(SPEECH_80, hop_samples=80)))
