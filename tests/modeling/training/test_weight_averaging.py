"""Averaged weights, the last epoch and kept copies: what the recipe says, stopped and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import EXIT_INTERRUPTED, EXIT_OK, UserError
from affectstream.modeling.data.feature_cache import FeatureCache
from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO, RESNET_ASP_AUDIO
from affectstream.modeling.recipes.recipe import Recipe, recipe_from_json
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from affectstream.modeling.runs.checkpoints import History, load_checkpoint, load_model
from affectstream.modeling.training.trainer import Trainer, fit
from tests.modeling.training.test_trainer import Points, Worsening, assert_same_run, recipe, small
from tests.support import models
from tests.support.precision import needs_float16_on_cpu

MOMENTUM = 0.8
# All that chance has a hand in, small.
CHANCE = (
    *("--recipe", "relu-cnn-audio", "--epochs", 3, "--batch-size", 1, "--set", "embedding_dim=4"),
    *models.settings(
        "cached_augmentations=2", "ema_momentum=0.9", "keep_epoch=last", "optimizer=adamw"
    ),
    *models.settings("schedule=cosine", f"transforms={RESNET_ASP_AUDIO.transforms}"),
)


class FirstBatch(Points):
    """One step an epoch."""

    num_batches = 1

    def __call__(self, epoch: int = 0) -> tf.data.Dataset:
        return super().__call__(epoch).take(1)


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable).copy() for variable in model.trainable_variables]


def trainer(chosen: Recipe) -> Trainer:
    """As of a long training, of which an average of any length is a small share."""
    return Trainer(small(), chosen, np.ones(2, np.float32), 1000 * chosen.training.epochs)


def fitted(
    folder: Path, chosen: Recipe, watched: Any = None, history: History | None = None
) -> tuple[Trainer, History]:
    trained, points = trainer(chosen), Points()
    paths = (folder / "last.keras", folder / "best.keras")
    found = fit(trained, points, watched or points, *paths, history or History(), lambda row: None)
    return trained, found


# === What a recipe may say ===


@pytest.mark.parametrize(
    ("base", "words", "told"),
    [
        (RELU_CNN_AUDIO, ["ema_momentum=1"], "ema_momentum=1.0: must be below 1"),
        (RELU_CNN_AUDIO, ["ema_momentum=-0.1"], "ema_momentum=-0.1: must be 0 or more"),
        (RELU_CNN_AUDIO, ["cached_augmentations=-1"], "cached_augmentations=-1: must be 0 or more"),
        (
            RELU_CNN_AUDIO,
            ["cached_augmentations=2.5"],
            "--set cached_augmentations=2.5: must be a whole number",
        ),
        (
            ELU_CNN_VIDEO,
            ["cached_augmentations=2"],
            "cached_augmentations=2: of audio only, not video",
        ),
        (RELU_CNN_AUDIO, ["keep_epoch=first"], "keep_epoch=first: must be one of best, last"),
        (
            RELU_CNN_AUDIO,
            ["keep_epoch=last", "early_stopping_patience=5"],
            "keep_epoch=last: goes with early_stopping_patience=0",
        ),
        (
            RESNET_ASP_AUDIO,
            ["early_stopping_patience=5"],
            "keep_epoch=last: goes with early_stopping_patience=0",
        ),
    ],
)
def test_what_a_recipe_cannot_say(base: Recipe, words: list[str], told: str) -> None:
    with pytest.raises(UserError) as raised:
        base.with_settings(words)
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_what_it_can_say() -> None:
    words = ["cached_augmentations=3", "ema_momentum=0.5", "keep_epoch=last"]
    changed = RELU_CNN_AUDIO.with_settings(words)
    assert (changed.cached_augmentations, changed.training.ema_momentum) == (3, 0.5)
    assert changed.training.keep_epoch == "last"
    assert ELU_CNN_VIDEO.with_settings(words[1:]).training.keep_epoch == "last"
    assert recipe_from_json(changed.as_json()) == changed


# === The average ===


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_float16", marks=needs_float16_on_cpu)]
)
def test_the_average_by_hand(policy: str) -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        chosen = recipe(ema_momentum=MOMENTUM, epochs=5, optimizer="adamw", weight_decay=0.01)
        trained = trainer(chosen)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    by_hand: list[np.ndarray] = []
    for step in range(5):
        trained.train_epoch(FirstBatch(), step, 5)
        raw = values(trained.model)
        if not by_hand:
            by_hand = raw
        by_hand = [MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(by_hand, raw, strict=True)]
        with trained.averaged_weights():
            for average, wanted in zip(values(trained.model), by_hand, strict=True):
                np.testing.assert_allclose(average, wanted, rtol=1e-5, atol=1e-6)
        for own, wanted in zip(values(trained.model), raw, strict=True):
            np.testing.assert_array_equal(own, wanted)
    assert max(np.abs(a - w).max() for a, w in zip(by_hand, raw, strict=True)) > 1e-3


def test_raw_weights_come_back_after_an_error() -> None:
    trained = trainer(recipe(ema_momentum=MOMENTUM))
    trained.train_epoch(Points(), 0, 3)
    raw = values(trained.model)
    with pytest.raises(KeyboardInterrupt), trained.averaged_weights():
        assert not np.array_equal(values(trained.model)[0], raw[0])
        raise KeyboardInterrupt
    for own, wanted in zip(values(trained.model), raw, strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_without_averaging_nothing_changes() -> None:
    trained = trainer(recipe())
    trained.train_epoch(Points(), 0, 3)
    raw = values(trained.model)
    with trained.averaged_weights():
        for own, wanted in zip(values(trained.model), raw, strict=True):
            np.testing.assert_array_equal(own, wanted)


def test_the_average_is_kept_and_training_goes_on_from_the_raw_weights(tmp_path: Path) -> None:
    chosen = recipe(ema_momentum=MOMENTUM, keep_epoch="last")
    (tmp_path / "plain").mkdir()
    averaged, found = fitted(tmp_path, chosen)
    plain, rows = fitted(tmp_path / "plain", recipe())
    for own, wanted in zip(values(averaged.model), values(plain.model), strict=True):
        np.testing.assert_array_equal(own, wanted)
    assert [row["loss"] for row in found.rows] == [row["loss"] for row in rows.rows]
    kept = load_model(tmp_path / "best.keras")
    with averaged.averaged_weights():
        for own, wanted in zip(values(averaged.model), values(kept), strict=True):
            np.testing.assert_array_equal(own, wanted)
    assert not np.array_equal(values(kept)[0], values(averaged.model)[0])
    # What is validated is what is kept.
    scores = Trainer(kept, recipe(), np.ones(2, np.float32), 1).evaluate(Points())
    assert scores["val_loss"] == pytest.approx(found.rows[-1]["val_loss"], rel=1e-6)
    assert scores["val_loss"] != pytest.approx(rows.rows[-1]["val_loss"], rel=1e-3)
    last, restored = load_checkpoint(tmp_path / "last.keras")
    assert restored == found
    for own, wanted in zip(values(last), values(averaged.model), strict=True):
        np.testing.assert_array_equal(own, wanted)


# === The last epoch ===


@pytest.mark.parametrize("keep", ["best", "last"])
def test_which_epoch_is_kept(tmp_path: Path, keep: str) -> None:
    """Validation that turns against the model; the history, as of a fusion, begins with no word."""
    chosen = recipe(epochs=6, keep_epoch=keep, learning_rate=0.05)
    trained, found = fitted(tmp_path, chosen, Worsening(3))
    assert found.best_epoch is not None
    assert found.best_epoch == 6 if keep == "last" else found.best_epoch <= 3
    assert found.epochs_since_best == 6 - found.best_epoch
    kept = values(load_model(tmp_path / "best.keras"))
    same = [np.array_equal(a, b) for a, b in zip(kept, values(trained.model), strict=True)]
    assert all(same) if keep == "last" else not all(same)
    assert found.rows[-1]["best"] == (keep == "last")


def test_the_last_epoch_of_no_history() -> None:
    assert History(keep_epoch="last").best_epoch is None
    rows = [{"epoch": i, "val_uar": 1 / i, "val_loss": 1.0} for i in (1, 2, 3)]
    assert History(rows, "last").best_epoch == 3
    assert History(rows).best_epoch == 1


# === Interrupted and resumed ===


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "data"
    return models.write_data(folder, models.records(streams=("audio",)))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert models.run("train", "--data", data, "--out", out, *CHANCE) == EXIT_OK
    return out


def test_resumed_with_copies_and_averages(
    undisturbed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the average stands in the model, after an epoch of kept copies."""
    words = ("train", "--data", data, "--out", tmp_path / "run", *CHANCE)
    evaluate, seen = Trainer.evaluate, []

    def interrupted(self: Trainer, batches: Any) -> dict[str, float]:
        assert isinstance(batches, FeatureCache)
        seen.append(evaluate(self, batches))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return seen[-1]

    monkeypatch.setattr(Trainer, "evaluate", interrupted)
    assert models.run(*words) == EXIT_INTERRUPTED
    assert len(models.history(tmp_path / "run")) == 1
    assert models.run(*words, "--resume") == EXIT_OK
    assert len(seen) == 2 + 2
    assert seen[1] == seen[2]  # the interrupted epoch was done again, alike
    assert_same_run(tmp_path / "run", undisturbed)


def test_what_the_run_tells(undisturbed: Path) -> None:
    assert [row["best"] for row in models.history(undisturbed)] == ["False", "False", "True"]
    best, last = (load_model(undisturbed / name) for name in ("best.keras", "last.keras"))
    averages = last.optimizer._model_variables_moving_average
    for kept, average in zip(values(best), averages, strict=True):
        np.testing.assert_array_equal(kept, np.asarray(average))
    assert not np.array_equal(values(best)[0], values(last)[0])
    stored = dataclasses.asdict(load_checkpoint(undisturbed / "last.keras")[1])
    assert stored["keep_epoch"] == "last" and len(stored["rows"]) == 3
