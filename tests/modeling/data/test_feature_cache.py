"""Cached features of augmented copies: what `RecordDataset` would give, drawn by the epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import parse_transforms, recipe_text_of_stream
from affectstream.data_augmentation.mixup import Mixup, blend_rows
from affectstream.modeling.data.feature_cache import FeatureCache
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.subset import Subset, select_records
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.audio import CONV1D_AUDIO, RESNET_ASP_AUDIO
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.labels import BASIC7
from tests.support import models

pytestmark = pytest.mark.slow

SOUND = "noise:probability=1,time_shift:probability=1"
RECIPE = dataclasses.replace(
    RESNET_ASP_AUDIO.with_training(batch_size=3),
    transforms=SOUND,
    encoder_settings={"width": 2},
)
COPIES = 3
# Half a step of float16 between 64 and 128 dB, and the order of adding up.
TOLERANCE_DB = 0.0323


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Subset:
    """Seven clips of one speaker, one a class."""
    made = models.records(1, streams=("audio",))
    folder = models.write_data(tmp_path_factory.mktemp("copies") / "data", made)
    return select_records([open_data_folder(folder)], "all", BASIC7, ("audio",))


@pytest.fixture(scope="module")
def front() -> keras.Model:
    return build_stream_model(RECIPE, 7, InputSpec(models.RATE_HZ)).front


@pytest.fixture(scope="module")
def copies(part: Subset, front: keras.Model) -> FeatureCache:
    return made(part, front)


def made(
    part: Subset, front: keras.Model, recipe: StreamRecipe = RECIPE, seed: int | None = 4
) -> FeatureCache:
    return FeatureCache(part, BASIC7, recipe, front, None, seed, COPIES)


def epoch(copies: FeatureCache, number: int) -> list[tuple[dict[str, Any], Any, Any]]:
    return [
        ({name: value.numpy() for name, value in given.items()}, truth.numpy(), index.numpy())
        for given, truth, index in copies(number)
    ]


def joined(copies: FeatureCache, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and row numbers of a whole epoch."""
    batches = epoch(copies, number)
    return (
        np.concatenate([given["features"] for given, *_ in batches]),
        np.concatenate([truth for _, truth, _ in batches]),
        np.concatenate([index for *_, index in batches]),
    )


def by_batches(part: Subset, front: keras.Model, number: int, **settings: Any) -> np.ndarray:
    """(clips, ...) features that `RecordDataset` gives in an epoch, in the order of the part."""
    batches = RecordDataset(part, BASIC7, ("audio",), 4, **settings)
    found: dict[int, np.ndarray] = {}
    for inputs, _, index in batches(number):
        features = np.asarray(front(inputs, training=False)["features"])
        found |= dict(zip(index.numpy().tolist(), features, strict=True))
    return np.stack([found[i] for i in range(len(part))])


# === Copies ===


def test_copies_are_what_batches_gives_and_each_is_drawn(
    copies: FeatureCache, part: Subset, front: keras.Model
) -> None:
    wanted = np.stack([by_batches(part, front, c, seed=4, transforms=SOUND) for c in range(COPIES)])
    taken = set()
    orders = []
    for number in range(8):
        features, truth, index = joined(copies, number)
        assert sorted(index) == list(range(7))
        orders.append(tuple(index))
        classes = [BASIC7.labels.index(part.all_rows[i].label) for i in index]
        np.testing.assert_array_equal(truth, np.eye(7)[classes])
        for own, row in zip(features, index, strict=True):
            away_db = np.abs(wanted[:, row] - own).max(axis=(1, 2, 3))
            (copy,) = np.flatnonzero(away_db < TOLERANCE_DB)
            assert np.delete(away_db, copy).min() > 1.0
            taken.add((int(copy), int(row)))
    assert {copy for copy, _ in taken} == set(range(COPIES))
    assert len(taken) > 7 * COPIES / 2  # each clip draws for itself
    assert len(set(orders)) == 8


def test_an_epoch_depends_on_seed_and_epoch_only(
    copies: FeatureCache, part: Subset, front: keras.Model
) -> None:
    mixing = dataclasses.replace(RECIPE, transforms=f"{SOUND},mixup")
    once, again = made(part, front, mixing), made(part, front, mixing)
    joined(again, 0)
    next(iter(again(5)))  # begun and left
    for one, other in zip(joined(once, 2), joined(again, 2), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(joined(once, 2)[0], joined(once, 3)[0])
    assert not np.array_equal(joined(made(part, front, seed=5), 2)[0], joined(copies, 2)[0])


def test_batches_are_counted_and_of_float32(copies: FeatureCache) -> None:
    batches = epoch(copies, 0)
    assert [len(index) for *_, index in batches] == [3, 3, 1]
    assert len(batches) == copies.num_batches == 3
    for given, truth, _ in batches:
        assert {given["features"].dtype, truth.dtype} == {np.dtype(np.float32)}
        assert given["features"].shape[1:] == (80, 301, 1)


def test_validation_is_plain(part: Subset, front: keras.Model) -> None:
    mixing = dataclasses.replace(RECIPE, transforms=f"{SOUND},mixup")
    plain = made(part, front, mixing, seed=None)
    features, truth, index = joined(plain, 0)
    np.testing.assert_array_equal(index, np.arange(7))
    assert set(np.unique(truth)) == {0.0, 1.0}
    wanted = by_batches(part, front, 0)
    np.testing.assert_allclose(features, wanted, rtol=0, atol=TOLERANCE_DB)
    np.testing.assert_array_equal(joined(plain, 1)[0], features)


# === Mixup ===


def test_mixup_blends_features_and_labels_by_the_same_draws(
    copies: FeatureCache, part: Subset, front: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Mapping[str, Any]] = []
    sample = Mixup.sample

    def recorded(self: Mixup, rng: np.random.Generator, batch_size: int) -> Mapping[str, Any]:
        drawn.append(sample(self, rng, batch_size))
        return drawn[-1]

    monkeypatch.setattr(Mixup, "sample", recorded)
    mixing = dataclasses.replace(RECIPE, transforms=f"{SOUND},mixup:alpha=1")
    mixed = epoch(made(part, front, mixing), 1)
    pure = epoch(copies, 1)
    assert len(drawn) == len(mixed) == 3
    for parameters, blended, own in zip(drawn, mixed, pure, strict=True):
        np.testing.assert_array_equal(blended[2], own[2])
        partner = parameters["permutation"]
        for row, weight in enumerate(parameters["weights"]):
            for got, rows in ((blended[0]["features"], own[0]["features"]), (blended[1], own[1])):
                by_hand = weight * rows[row] + (1 - weight) * rows[partner[row]]
                np.testing.assert_allclose(got[row], by_hand, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(mixed[0][0]["features"], pure[0][0]["features"])


def test_blended_rows_by_hand() -> None:
    rows = np.array([[[0.0], [8.0]], [[4.0], [2.0]]], np.float32)
    made = blend_rows(rows, permutation=[1, 0], weights=[0.75, 1.0])
    np.testing.assert_array_equal(made, [[[1.0], [6.5]], [[4.0], [2.0]]])
    assert made.dtype == np.float32
    labels = np.eye(2, dtype=np.float32)
    found = blend_rows(labels, permutation=[1, 0], weights=[0.75, 1.0])
    np.testing.assert_array_equal(found, [[0.75, 0.25], [0.0, 1.0]])


def test_text_of_a_stream() -> None:
    text = "speed:probability=0.8, noise:min_snr_db=5:probability=0.3,spec_augment,mixup:alpha=0.3"
    whole = parse_transforms(text)
    assert parse_transforms(recipe_text_of_stream(text, "audio")) == whole[:2]
    assert whole[1].probability == 0.3
    assert recipe_text_of_stream(text, "batch") == "mixup:alpha=0.3"
    assert recipe_text_of_stream(text, "video") == recipe_text_of_stream("", "audio") == ""
    with pytest.raises(UserError, match="no transforms named 'nose'"):
        recipe_text_of_stream("noise,nose", "audio")


# === Features of another kind ===


def small_front(scale: float, has_mask: bool) -> keras.Model:
    """A few samples as features, (batch, 4)."""
    inputs = InputSpec(models.RATE_HZ).inputs("audio")
    features = scale * (1 + inputs["audio"][:, 4000:4004])
    outputs = {"features": features} | ({"mask": features > scale} if has_mask else {})
    return keras.Model(inputs, outputs)


def test_a_mask_is_kept_with_its_features(part: Subset) -> None:
    batches = epoch(made(part, small_front(8.0, has_mask=True)), 0)
    features, mask = (
        np.concatenate([given[name] for given, *_ in batches]) for name in ("features", "mask")
    )
    assert mask.dtype == bool and features.shape == mask.shape == (7, 4)
    clear = np.abs(features - 8.0) > 0.01
    assert set(mask[clear]) == {True, False}
    np.testing.assert_array_equal(mask[clear], features[clear] > 8.0)


def test_mixup_of_features_with_a_mask_is_refused(part: Subset) -> None:
    recipe = dataclasses.replace(CONV1D_AUDIO, transforms="noise,mixup", cached_augmentations=2)
    front = build_stream_model(recipe, 7, InputSpec(models.RATE_HZ)).front
    for seed in (4, None):
        with pytest.raises(
            UserError, match=r"needs features without a mask.*--set cached_augmentations=0"
        ) as e:
            made(part, front, recipe, seed)
        assert "\n" not in str(e.value)


def test_features_too_large_for_half_precision_are_refused(part: Subset) -> None:
    next(made(part, small_front(30_000.0, has_mask=False))())
    with pytest.raises(
        UserError, match=r"too large to be kept in half.*65504.*--set cached_augmentations=0"
    ):
        next(made(part, small_front(80_000.0, has_mask=False))())


def test_a_part_of_two_folders_is_numbered_through(
    front: keras.Model, part: Subset, tmp_path: Path
) -> None:
    """Rows of the second folder stand behind those of the first."""
    other = models.write_data(
        tmp_path / "other", [models.record("09", "sad", streams=("audio",), corpus="more")]
    )
    folders = [*part.folders, open_data_folder(other)]
    both = select_records(folders, "all", BASIC7, ("audio",))
    features, truth, index = joined(made(both, front, seed=None), 0)
    np.testing.assert_array_equal(index, np.arange(8))
    assert truth[7].argmax() == BASIC7.index("sad")
    alone = select_records(folders[1:], "all", BASIC7, ("audio",))
    np.testing.assert_allclose(features[7:], by_batches(alone, front, 0), rtol=0, atol=TOLERANCE_DB)
