"""Prints the summary of a cross-validation before its first training."""

from __future__ import annotations

from typing import cast

import keras

from affectstream.modeling.crossval.config import Crossval, data_for_fold, training_folders
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.data.subset import select_records
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.training.introduction import (
    format_clips,
    format_data,
    format_labels,
    format_parameter_counts,
    format_recipe,
    print_block,
)
from affectstream.modeling.training.train_single import prepare_training
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.preprocessing.clip import SPLITS


def print_crossval_summary(crossval: Crossval) -> None:
    """Prints one summary of all trainings: the plan of the cross-validation, and its first fold.

    Raises:
      UserError: a reason that would stop the first training.
    """
    streams, first = crossval.streams, crossval.folds[0]
    parts = crossval.stream_recipes or cast("tuple[StreamRecipe]", (crossval.recipe,))
    data = [data_for_fold(crossval, first), *crossval.extra_train_data]
    clips = (
        f"{split} {format_clips(select_records(data, split, crossval.labels, streams).all_rows)}"
        for split in SPLITS
    )
    count = len(crossval.folds) * crossval.num_seeds
    all_rows = crossval.data.subset("all")
    print_block(
        {
            "recipe": format_recipe(crossval.recipe, streams),
            **{
                f"part {one.stream}": format_recipe(one, (one.stream,))
                for one in crossval.stream_recipes
            },
            "labels": format_labels(crossval.recipe.labels, crossval.labels, all_rows, streams),
            "data": format_data((crossval.data, *crossval.extra_train_data)),
            "clips": f"{format_clips(crossval.rows)}; in fold 1 {', '.join(clips)}",
            "trainings": f"{count}: {len(crossval.folds)} folds, {crossval.num_seeds} seeds",
            "parameters": "; ".join(_parameters_in(crossval, first, one) for one in parts),
            "writes to": str(crossval.out),
        }
    )
    keras.backend.clear_session()


def _parameters_in(crossval: Crossval, fold: Fold, recipe: StreamRecipe) -> str:
    """Parameter counts of one network as trained in the first fold."""
    options = TrainOptions(crossval.out, allow_scripted_text=bool(crossval.stream_recipes))
    folders = training_folders(crossval, fold, recipe.stream)
    _, built, _, _ = prepare_training(recipe, folders, options)
    told = format_parameter_counts(built.whole)
    return f"{recipe.stream} {told}" if crossval.stream_recipes else told
