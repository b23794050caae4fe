"""Pretrained parts: frozen for some epochs, then fine-tuned; and resumed in either phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.layer_names import BASE
from affectstream.modeling.recipes.recipe import Recipe
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from affectstream.modeling.runs.checkpoints import History, load_checkpoint
from affectstream.modeling.training.trainer import Trainer, fit

pytestmark = pytest.mark.slow

CLOUDS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
LABELS = np.eye(2, dtype=np.float32)[(CLOUDS[:, 0] > 0).astype(int)]


class Points:
    num_batches = 2

    def __call__(self, epoch: int = 0) -> tf.data.Dataset:
        slices = ({"x": CLOUDS}, LABELS, np.arange(16))
        return tf.data.Dataset.from_tensor_slices(slices).batch(8)


def model() -> keras.Model:
    """A base with batch normalisation, as pretrained networks have, and a head."""
    keras.utils.set_random_seed(1)
    x = keras.Input((3,), name="x")
    made = keras.layers.BatchNormalization()(keras.layers.Dense(4)(x))
    base = keras.Model(x, made, name=BASE)
    given = keras.Input((3,), name="x")
    head = keras.layers.Dense(2, name="logits")(keras.layers.ELU()(base(given)))
    return keras.Model({"x": given}, {"logits": head})


def recipe(**changes: Any) -> Recipe:
    settings = {"epochs": 4, "freeze_epochs": 2, "learning_rate": 0.01, **changes}
    return ELU_CNN_VIDEO.with_training(**settings)


def train(folder: Path, chosen: Recipe, go_on: bool = False) -> tuple[keras.Model, History]:
    made, history = model(), History()
    if go_on:
        made, history = load_checkpoint(folder / "last.keras")
    trainer = Trainer(made, chosen, np.ones(2, np.float32), 8)
    fit(trainer, Points(), Points(), folder / "last.keras", folder / "best.keras", history, print)
    return made, history


def values(of: keras.Model, part: str) -> list[np.ndarray]:
    base = {v.path for v in of.get_layer(BASE).variables}
    return [np.asarray(v) for v in of.variables if (v.path in base) == (part == BASE)]


def test_the_base_waits_and_then_learns_more_slowly(tmp_path: Path) -> None:
    start = model()
    frozen, history = train(tmp_path / "a", recipe(epochs=2))
    for a, b in zip(values(start, BASE), values(frozen, BASE), strict=True):
        np.testing.assert_array_equal(a, b)  # statistics of the batch normalisation too
    assert any(
        (a != b).any() for a, b in zip(values(start, "head"), values(frozen, "head"), strict=True)
    )
    tuned, longer = train(tmp_path / "b", recipe())
    changed = [
        (a != b).any() for a, b in zip(values(start, BASE), values(tuned, BASE), strict=True)
    ]
    assert all(changed)
    rates = [row["learning_rate"] for row in longer.rows]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.001, 0.001])
    assert longer.rows[:2] != [] and longer.rows[1]["loss"] == history.rows[1]["loss"]


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_resumed_it_is_the_same_run(tmp_path: Path, epochs: int) -> None:
    whole, expected = train(tmp_path / "whole", recipe())
    train(tmp_path / "parts", recipe(epochs=epochs))
    again, found = train(tmp_path / "parts", recipe(), go_on=True)
    assert [row["loss"] for row in found.rows] == [row["loss"] for row in expected.rows]
    for a, b in zip(whole.variables, again.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_without_freezing_all_of_it_learns_at_once(tmp_path: Path) -> None:
    start, made = model(), train(tmp_path, recipe(epochs=1, freeze_epochs=0))[0]
    assert all((a != b).any() for a, b in zip(values(start, BASE), values(made, BASE), strict=True))


def test_settings_of_fine_tuning_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="freeze_epochs=2: goes with schedule=constant only"):
        recipe(schedule="cosine").validate()
    with pytest.raises(UserError, match="freeze_epochs=-1: must be 0 or more"):
        recipe(freeze_epochs=-1).validate()
