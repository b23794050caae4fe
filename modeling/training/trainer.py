"""The one training loop: a step at a time, stopped and resumed without changing the outcome."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import progress
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import keyed_rng
from affectstream.data_augmentation.spectrogram.spectrogram_transform import SpectrogramTransform
from affectstream.modeling.layer_names import BASE
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.metrics import classification
from affectstream.modeling.recipes.recipe import Recipe
from affectstream.modeling.runs.checkpoints import History, save_model
from affectstream.modeling.training import distribution

# The moving average spans at most this share of all steps.
MAX_EMA_SHARE = 0.1
METRIC_COLUMNS = ("loss", "wa", "uar", "val_loss", "val_wa", "val_uar")
HISTORY_COLUMNS = ("epoch", *METRIC_COLUMNS, "learning_rate", "seconds", "input_wait_share", "best")


class EpochDataset(Protocol):
    """What the loop reads: `modeling.data.record_dataset.RecordDataset`, or arrays."""

    @property
    def num_batches(self) -> int: ...
    def __call__(self, epoch: int = 0) -> Iterable[Any]: ...


class Trainer:
    """Trains one model on the training split and evaluates it on the validation split.

    Args:
      model: from named inputs to {"logits": (B, classes), ...}.
      recipe: optimizer, epochs and the rest.
      class_weights: (classes,) float32, multiplied into the loss of each row.
      total_steps: over all epochs, for the learning-rate schedule.
      seed: of the run.
      trainable_submodel: the submodel that receives precomputed features and holds all trained
        weights; None feeds raw inputs to `model` itself.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        class_weights: np.ndarray,
        total_steps: int,
        seed: int = 0,
        trainable_submodel: keras.Model | None = None,
    ) -> None:
        self.model = model
        self._fed = trainable_submodel or model
        self.recipe = recipe
        self._seed = seed
        self._class_weights = tf.constant(class_weights, tf.float32)
        self._loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.training.label_smoothing, reduction="none"
        )
        if getattr(model, "optimizer", None) is None:
            model.compile(optimizer=make_optimizer(recipe, total_steps))
        self._optimizer = model.optimizer
        self._optimizer.build(model.trainable_variables)
        pretrained = {v.path for base in _bases(model) for v in base.trainable_variables}
        new = [v for v in model.trainable_variables if v.path not in pretrained]
        self._variables = {False: model.trainable_variables, True: new}
        self._train_steps = {
            frozen: distribution.ReplicatedStep(functools.partial(self._step, frozen))
            for frozen in (False, True)
        }
        self._predict_step = tf.function(self._forward, reduce_retracing=True)

    # === Steps ===

    def _step(self, frozen: bool, inputs: Any, labels: Any) -> Any:
        """Returns one replica's share of the loss; the optimizer adds up the gradients."""
        variables = self._variables[frozen]
        with tf.GradientTape() as tape:
            with distribution.synchronized_batch_norm(self._fed):
                logits = self._fed(inputs, training=True)["logits"]
            weights = tf.linalg.matvec(labels, self._class_weights)
            weight = distribution.all_reduce_sum(tf.reduce_sum(weights))
            loss = tf.reduce_sum(self._loss(labels, logits) * weights) / weight
            total = loss
            if self._fed.losses:
                total += tf.add_n(self._fed.losses) * distribution.replica_loss_scale()
            scaled = self._optimizer.scale_loss(total)
        self._optimizer.apply(tape.gradient(scaled, variables), variables)
        return loss, logits

    def _forward(self, inputs: Any, labels: Any) -> Any:
        logits = self._fed(inputs, training=False)["logits"]
        weights = tf.linalg.matvec(labels, self._class_weights)
        return tf.reduce_sum(self._loss(labels, logits) * weights), tf.reduce_sum(weights), logits

    # === Epochs ===

    def train_epoch(self, batches: EpochDataset, epoch: int, num_epochs: int) -> dict[str, Any]:
        """One pass over the training split: loss, WA, UAR, seconds and share of waiting."""
        losses: list[float] = []
        truth, predicted = [], []
        frozen = self._begin_epoch(epoch)
        waited_s = 0.0
        began_s = time.perf_counter()
        iterator = iter(batches(epoch))
        name = f"{self.recipe.name} epoch {epoch + 1}/{num_epochs}"
        with progress.bar(batches.num_batches, name, "batch") as bar:
            while True:
                asked_s = time.perf_counter()
                batch = next(iterator, None)
                if losses:  # the first batch fills the shuffle buffer and does not count as waiting
                    waited_s += time.perf_counter() - asked_s
                if batch is None:
                    break
                loss, logits = self._train_steps[frozen](batch[0], batch[1])
                losses.append(float(loss))
                truth.append(np.argmax(batch[1].numpy(), axis=1))
                predicted.append(np.argmax(logits.numpy(), axis=1))
                bar.update()
        seconds = time.perf_counter() - began_s
        for base in _bases(self.model):
            base.trainable = True  # the step number in the optimizer and in every checkpoint
        if not (np.isfinite(losses).all() and _all_finite(self.model.trainable_variables)):
            raise UserError(
                f"loss or weights no longer a number in epoch {epoch + 1}; lower learning_rate"
                f" (--set learning_rate={self.recipe.training.learning_rate / 10:g})"
            )
        score = classification.accuracies(np.concatenate(truth), np.concatenate(predicted))
        speed = {"seconds": seconds, "input_wait_share": waited_s / seconds}
        return {"loss": float(np.mean(losses)), **score, **speed}

    def _begin_epoch(self, epoch: int) -> bool:
        """Makes random layers depend on (seed, epoch) only; Keras does not save their state.

        Returns:
          whether pretrained layers are frozen in this epoch.
        """
        frozen = epoch < self.recipe.training.freeze_epochs
        for base in _bases(self.model):
            base.trainable = not frozen
        if self.recipe.training.freeze_epochs:
            share = 1.0 if frozen else self.recipe.training.fine_tune_lr_factor
            self._optimizer.learning_rate = self.recipe.training.learning_rate * share
        for place, layer in enumerate(all_layers(self.model)):
            if isinstance(layer, SpectrogramTransform):
                layer.begin_epoch(epoch, self._seed, place)
            elif hasattr(layer, "seed_generator"):
                start = keyed_rng(self._seed, epoch, str(place), "dropout").integers(2**31)
                layer.seed_generator.state.assign(np.array([start, 0], "uint32"))
        return frozen

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Context manager: the model holds its averaged weights if the recipe averages them."""
        if not self.recipe.training.ema_momentum:
            yield
            return
        pairs = _averages(self._optimizer)
        own = [(variable, variable.numpy()) for variable, _ in pairs]
        for variable, average in pairs:
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in own:
                variable.assign(value)

    def evaluate(self, batches: EpochDataset) -> dict[str, float]:
        """Loss, WA and UAR on a split, without augmentation or dropout."""
        loss = weight = 0.0
        truth, predicted = [], []
        for inputs, labels, _ in batches(0):
            batch_loss, batch_weight, logits = self._predict_step(inputs, labels)
            loss, weight = loss + float(batch_loss), weight + float(batch_weight)
            truth.append(np.argmax(labels.numpy(), axis=1))
            predicted.append(np.argmax(logits.numpy(), axis=1))
        score = classification.accuracies(np.concatenate(truth), np.concatenate(predicted))
        return {"val_loss": loss / weight, **{f"val_{k}": v for k, v in score.items()}}


def _averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[Any, Any]]:
    """Each variable with its moving average.

    The lists are private in Keras 3. Its callback `SwapEMAWeights` reads the same ones, but swaps
    by adding and subtracting. That changes the last bits of the raw weights, so a resumed run would
    end differently from one without interruption.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    kept = inner._model_variables_moving_average
    return list(zip(inner._trainable_variables, kept, strict=True))


def _bases(model: keras.Model) -> list[keras.layers.Layer]:
    """Submodels with pretrained weights."""
    return [layer for layer in all_layers(model) if layer.name == BASE]


def _all_finite(variables: Sequence[Any]) -> bool:
    """The loss alone does not show it: oneDNN's ReLU behind a dense layer turns NaN into 0."""
    return all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in variables)


def fit(
    trainer: Trainer,
    train: EpochDataset,
    validation: EpochDataset,
    checkpoint: Path,
    best: Path,
    history: History,
    after_epoch: Callable[[dict[str, Any]], None],
) -> History:
    """Runs the remaining epochs; writes `best` and `checkpoint` whole after each.

    If interrupted and resumed from `checkpoint`, it ends with the same history and weights.

    Args:
      history: empty, or what `load_checkpoint` returned.
      after_epoch: called with each finished row (tables, curves, TensorBoard).
    """
    recipe = trainer.recipe
    settings = recipe.training
    patience = settings.early_stopping_patience
    history.keep_epoch = settings.keep_epoch
    while len(history.rows) < settings.epochs:
        if (
            recipe.training.early_stopping_patience
            and history.epochs_since_best >= recipe.training.early_stopping_patience
        ):
            progress.print_message(
                f"stopped after epoch {len(history.rows)} of {settings.epochs}: the last"
                f" {patience} were no better on validation (early_stopping_patience)"
            )
            break
        epoch = len(history.rows)
        row: dict[str, Any] = {"epoch": epoch + 1}
        row |= trainer.train_epoch(train, epoch, settings.epochs)
        row["learning_rate"] = float(tf.convert_to_tensor(trainer.model.optimizer.learning_rate))
        with trainer.averaged_weights():
            row |= trainer.evaluate(validation)
            history.rows.append(row)
            row["best"] = history.best_epoch == epoch + 1
            if row["best"]:
                save_model(trainer.model, best)
        save_model(trainer.model, checkpoint, asdict(history))
        after_epoch(row)
    return history


def make_optimizer(recipe: Recipe, total_steps: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer with its schedule; loss scaling where the policy is half precision.

    The moving average spans at most a tenth of the training: in a training of few steps, a longer
    one would mostly average the initial weights.
    """
    rate: Any = recipe.training.learning_rate
    if recipe.training.schedule == "cosine":
        warmup = max(1, total_steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total_steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    settings: dict[str, Any] = {}
    if recipe.training.ema_momentum:
        longest = max(0.0, 1.0 - 1.0 / (MAX_EMA_SHARE * total_steps))
        settings = {"use_ema": True, "ema_momentum": min(recipe.training.ema_momentum, longest)}
    if recipe.training.optimizer == "adamw":
        settings["weight_decay"] = recipe.training.weight_decay
        optimizer: Any = keras.optimizers.AdamW(rate, **settings)
    else:
        optimizer = keras.optimizers.Adam(rate, **settings)
    if keras.mixed_precision.dtype_policy().compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
