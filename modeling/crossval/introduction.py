"""Prints the summary of a cross-validation before its first training."""

from __future__ import annotations

import keras

from affectstream.modeling.crossval.config import Crossval, data_of, training_folders
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.data.subset import choose
from affectstream.modeling.recipes import Recipe
from affectstream.modeling.training.introduction import (
    tell_block,
    told_clips,
    told_data,
    told_labels,
    told_parameters,
    told_recipe,
)
from affectstream.modeling.training.train_single import prepared
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.preprocessing.clip import SPLITS


def introduce_crossval(crossval: Crossval) -> None:
    """Once for all trainings of a cross-validation: what is crossed, and its first fold.

    Raises:
      UserError: what would stop the first training.
    """
    streams, first = crossval.streams, crossval.folds[0]
    parts = crossval.parts or (crossval.recipe,)
    data = [data_of(crossval, first), *crossval.also]
    clips = (
        f"{split} {told_clips(choose(data, split, crossval.labels, streams).all_rows)}"
        for split in SPLITS
    )
    count = len(crossval.folds) * crossval.num_seeds
    all_rows = crossval.data.part("all")
    tell_block(
        {
            "recipe": told_recipe(crossval.recipe, streams),
            **{f"part {one.stream}": told_recipe(one, (one.stream,)) for one in crossval.parts},
            "labels": told_labels(crossval.recipe.labels, crossval.labels, all_rows, streams),
            "data": told_data((crossval.data, *crossval.also)),
            "clips": f"{told_clips(crossval.rows)}; in fold 1 {', '.join(clips)}",
            "trainings": f"{count}: {len(crossval.folds)} folds, {crossval.num_seeds} seeds",
            "parameters": "; ".join(_parameters_in(crossval, first, one) for one in parts),
            "writes to": str(crossval.out),
        }
    )
    keras.backend.clear_session()


def _parameters_in(crossval: Crossval, fold: Fold, recipe: Recipe) -> str:
    """Of one network as the first fold trains it."""
    options = TrainOptions(crossval.out, allow_fixed_sentences=bool(crossval.parts))
    folders = training_folders(crossval, fold, recipe.stream)
    _, built, _, _ = prepared(recipe, folders, options)
    told = told_parameters(built.whole)
    return f"{recipe.stream} {told}" if crossval.parts else told
