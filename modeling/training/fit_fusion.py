"""Fits one fusion to the outputs of frozen streams, by training epochs or by calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.data.array_dataset import ArrayDataset, Arrays
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.layer_names import FUSED_MODEL, FUSION
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.training.training_steps import (
    TrainOptions,
    epoch_writer,
    row_without_epochs,
    train_model,
)


@dataclass(frozen=True)
class StreamOutputs:
    """Outputs of the frozen streams for the recordings that a fusion is fitted on.

    Attributes:
      names: the streams, in concatenation order.
      train, validation_data: outputs on the training and validation split, by record:
        `STREAM_logits`, `STREAM_embedding`, `STREAM_present` float32 and `truth` int.
      speakers: (clips,) of the validation split, see `fit_temperature`.
    """

    names: tuple[str, ...]
    train: Arrays
    validation_data: Arrays
    speakers: np.ndarray


def build_fusion(
    recipe: FusionRecipe, num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """The recipe's fusion, untrained.

    Args:
      embedding_dims: of each stream, in concatenation order.
    """
    build = registry.load("fusions", recipe.fusion)
    fusion: keras.Model = build(
        tuple(embedding_dims), num_classes, embedding_dims, **recipe.fusion_settings
    )
    return fusion


def fit_fusion(
    recipe: FusionRecipe,
    fusion: keras.Model,
    data: TrainingData,
    outputs: StreamOutputs,
    options: TrainOptions,
) -> tuple[keras.Model, checkpoints.History]:
    """Trains `fusion` from the checkpoint in `options.out`, or calibrates it on validation.

    Args:
      fusion: from `build_fusion`.
    Returns:
      the fusion with the weights of its best epoch, and its history: one row if the fusion has no
      epochs.
    """
    names, train, validation_data = outputs.names, outputs.train, outputs.validation_data
    history = checkpoints.History()
    if not fusion.trainable_variables:
        _calibrate(fusion, outputs)
        write = epoch_writer(options.out, history, recipe)
        made = ((fused_logits(fusion, part), part["truth"]) for part in (train, validation_data))
        history.rows.append(row_without_epochs(*made))
        write(history.rows[0])
        return fusion, history
    if (options.out / run_folder.LAST).is_file():
        fusion, history = checkpoints.load_checkpoint(options.out / run_folder.LAST)
    num_classes = len(data.labels.labels)
    batches = ArrayDataset(
        train, names, recipe.training, num_classes, options.seed, recipe.modality_dropout
    )
    watched = ArrayDataset(validation_data, names, recipe.training, num_classes)
    history = train_model(fusion, recipe, data, batches, watched, options, history)
    return _alone(checkpoints.load_model(options.out / run_folder.BEST)), history


def require_same_epochs(out: Path, recipe: FusionRecipe) -> None:
    """Refuses to resume a finished fusion that cannot be trained further.

    Args:
      out: run folder of a fusion that has no epochs, or that `auto` selected.
    Raises:
      UserError: the run is finished, and only the number of epochs would change.
    """
    before = run_folder.read_run(out) if run_folder.is_run(out) else None
    if before is None or not before.finished or before.recipe == recipe:
        return
    if before.recipe.with_training(epochs=recipe.training.epochs) != recipe:
        return  # another fusion, which `run_folder.prepare_run_folder` reports
    if recipe.fusion in registry.names("fusions"):
        raise UserError(
            f"{out}: finished, and fusion {recipe.fusion} is calibrated, not trained by epochs:"
            " there is nothing to go on with; leave --epochs out"
        )
    raise UserError(
        f"{out}: finished, its fusion was chosen among several after"
        f" {before.recipe.training.epochs} epochs of each and cannot go on; train one alone"
        " (--set fusion=NAME), or all with --overwrite"
    )


def _alone(model: keras.Model) -> keras.Model:
    """Extracts the fusion; an unfinished run may have stored the whole fused model."""
    return model.get_layer(FUSION) if model.name == FUSED_MODEL else model


def _calibrate(fusion: keras.Model, outputs: StreamOutputs) -> None:
    validation_data = outputs.validation_data
    for layer in fusion.layers:
        if hasattr(layer, "calibrate"):
            layer.calibrate(
                [validation_data[f"{name}_logits"] for name in outputs.names],
                [validation_data[f"{name}_present"] > 0 for name in outputs.names],
                validation_data["truth"],
                outputs.speakers,
            )


def fused_logits(fusion: keras.Model, arrays: Arrays) -> np.ndarray:
    """(clips, classes) float32: logits of the fusion, given the stream outputs."""
    inputs = {name: value for name, value in arrays.items() if name != "truth"}
    return np.asarray(fusion(inputs, training=False)["logits"])
