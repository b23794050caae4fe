"""Prints a summary before training: recipe, labels, data, speakers, parameters, folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from affectstream.core import progress
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.recipes.recipe import FusionRecipe, Recipe
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.labels import LabelSet


def print_training_summary(
    recipe: Recipe,
    data: TrainingData,
    streams: Sequence[str],
    parameters: str,
    out: Path,
    seed: int,
    has_epochs: bool = True,
) -> None:
    """Says on stderr what is going to be trained, before it is.

    Args:
      streams: of the model.
      parameters: from `format_parameter_counts`.
      out: run folder.
    """
    clips = (f"{split} {format_clips(data.subsets[split].all_rows)}" for split in SPLITS)
    rows = [row for split in SPLITS for folder in data.folders for row in folder.subset(split)]
    print_block(
        {
            "recipe": f"{format_recipe(recipe, streams, has_epochs)}, seed {seed}",
            "labels": format_labels(recipe.labels, data.labels, rows, streams),
            "data": format_data(data.folders),
            "clips": ", ".join(clips),
            "parameters": parameters,
            "writes to": str(out),
        }
    )


def print_fusion_summary(
    recipe: Recipe,
    data: TrainingData,
    models: dict[str, keras.Model],
    fusion: keras.Model | None,
    options: TrainOptions,
) -> None:
    """As `print_training_summary`, of trained streams that are joined.

    Args:
      models: by stream, which stay as they are.
      fusion: None where one is chosen among several.
    """
    told = f"{sum(model.count_params() for model in models.values()):,} of the streams stay"
    told += ", those of each fusion that is tried are trained"
    if fusion is not None:
        told = format_parameter_counts(*models.values(), fusion, trained=fusion)
    has_epochs = fusion is None or bool(fusion.trainable_variables)
    print_training_summary(recipe, data, tuple(models), told, options.out, options.seed, has_epochs)


def print_unpaired_summary(
    recipe: Recipe, infos: dict[str, RunInfo], parameters: str, out: Path
) -> None:
    """As `print_training_summary`, of streams that are fused without paired data."""
    first = next(iter(infos.values()))
    data = (
        f"{stream} was trained on {' and '.join(str(one['path']) for one in info.data)}"
        for stream, info in infos.items()
    )
    print_block(
        {
            "recipe": format_recipe(recipe, tuple(infos), has_epochs=False),
            "labels": f"{first.label_set} ({', '.join(first.labels)})",
            "data": f"none is read: {', '.join(data)}",
            "parameters": parameters,
            "writes to": str(out),
        }
    )


def print_block(lines: dict[str, str]) -> None:
    """One line each on stderr, what it is about first."""
    width = max(map(len, lines))
    progress.print_message("\n".join(f"{name:{width}}  {told}" for name, told in lines.items()))


# === Its lines ===


def format_recipe(recipe: Recipe, streams: Sequence[str], has_epochs: bool = True) -> str:
    """A recipe, what it is of, and how long it is trained."""
    told = f"{recipe.name} ({'+'.join(streams)})"
    if isinstance(recipe, FusionRecipe):
        told += f", fusion {recipe.fusion}"
    else:
        told += recipe.ensemble_label
    if not has_epochs:
        return f"{told}, calibrated, no epochs"
    epochs = "1 epoch" if recipe.training.epochs == 1 else f"{recipe.training.epochs:,} epochs"
    return f"{told}, {epochs}, batches of {recipe.training.batch_size}"


def format_labels(
    name: str, labels: LabelSet, rows: Iterable[ClipRow], streams: Sequence[str]
) -> str:
    """The classes, which labels count as which of them, and how many clips take no part.

    Args:
      rows: of all parts, those without a label of the set too.
    """
    rows = list(rows)
    told = f"{name} ({', '.join(labels.labels)})"
    counts = Counter(row.label for row in rows)
    merged = [
        f"{label} -> {labels.merges[label]} ({counts[label]:,})"
        for label in labels.merges
        if counts[label]
    ]
    none = [f"{label} {count:,}" for label, count in counts.items() if labels.index(label) is None]
    has_label = [row for row in rows if labels.index(row.label) is not None]
    if num_without := sum(not set(row.streams) & set(streams) for row in has_label):
        none.append(f"without {' or '.join(streams)} {num_without:,}")
    told += f", {', '.join(merged)}" if merged else ""
    return f"{told}; left out: {', '.join(none)}" if none else told


def format_data(folders: Iterable[DataFolder]) -> str:
    return ", ".join(
        f"{folder.path}{' (SYNTHETIC)' if folder.synthetic else ''}" for folder in folders
    )


def format_clips(rows: Sequence[ClipRow]) -> str:
    """`1,008 of 14 people`."""
    people = {row.speaker for row in rows if row.speaker}
    unknown = sum(not row.speaker for row in rows)
    told = f"{len(rows):,}"
    if people:
        told += f" of {len(people):,} {'person' if len(people) == 1 else 'people'}"
        return f"{told} ({unknown:,} of unknown)" if unknown else told
    return f"{told} (people unknown)" if rows else told


def format_parameter_counts(*models: keras.Model, trained: keras.Model | None = None) -> str:
    """How many numbers make up some models, and how many of them are trained.

    Args:
      trained: the part that is; None: all of the models.
    """
    total = sum(model.count_params() for model in models)
    learning = [trained] if trained is not None else models
    num_trainable_params = sum(
        int(np.prod(variable.shape)) for one in learning for variable in one.trainable_variables
    )
    return f"{total:,}, of which {num_trainable_params:,} are trained"
