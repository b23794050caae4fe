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
    """Prints on stderr what will be trained.

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
    """Like `print_training_summary`, for a fusion of trained streams.

    Args:
      models: by stream; they stay unchanged.
      fusion: None if `auto` selects one.
    """
    parameters = f"{sum(model.count_params() for model in models.values()):,} of the streams stay"
    parameters += ", those of each fusion that is tried are trained"
    if fusion is not None:
        parameters = format_parameter_counts(*models.values(), fusion, trained=fusion)
    has_epochs = fusion is None or bool(fusion.trainable_variables)
    print_training_summary(
        recipe, data, tuple(models), parameters, options.out, options.seed, has_epochs
    )


def print_unpaired_summary(
    recipe: Recipe, infos: dict[str, RunInfo], parameters: str, out: Path
) -> None:
    """Like `print_training_summary`, for streams that are fused without paired data."""
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
    """Prints each pair as one line on stderr, its heading first."""
    width = max(map(len, lines))
    progress.print_message("\n".join(f"{name:{width}}  {text}" for name, text in lines.items()))


# === Lines ===


def format_recipe(recipe: Recipe, streams: Sequence[str], has_epochs: bool = True) -> str:
    """A recipe, its stream or architecture, and its number of epochs."""
    text = f"{recipe.name} ({'+'.join(streams)})"
    if isinstance(recipe, FusionRecipe):
        text += f", fusion {recipe.fusion}"
    else:
        text += recipe.ensemble_label
    if not has_epochs:
        return f"{text}, calibrated, no epochs"
    epochs = "1 epoch" if recipe.training.epochs == 1 else f"{recipe.training.epochs:,} epochs"
    return f"{text}, {epochs}, batches of {recipe.training.batch_size}"


def format_labels(
    name: str, labels: LabelSet, rows: Iterable[ClipRow], streams: Sequence[str]
) -> str:
    """The classes, the corpus labels merged into each, and the number of unused clips.

    Args:
      rows: of all splits, including those without a label of the set.
    """
    rows = list(rows)
    text = f"{name} ({', '.join(labels.labels)})"
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
    text += f", {', '.join(merged)}" if merged else ""
    return f"{text}; left out: {', '.join(none)}" if none else text


def format_data(folders: Iterable[DataFolder]) -> str:
    return ", ".join(
        f"{folder.path}{' (SYNTHETIC)' if folder.synthetic else ''}" for folder in folders
    )


def format_clips(rows: Sequence[ClipRow]) -> str:
    """`1,008 of 14 people`."""
    people = {row.speaker for row in rows if row.speaker}
    unknown = sum(not row.speaker for row in rows)
    text = f"{len(rows):,}"
    if people:
        text += f" of {len(people):,} {'person' if len(people) == 1 else 'people'}"
        return f"{text} ({unknown:,} of unknown)" if unknown else text
    return f"{text} (people unknown)" if rows else text


def format_parameter_counts(*models: keras.Model, trained: keras.Model | None = None) -> str:
    """Number of parameters of some models, and how many are trained.

    Args:
      trained: the trained submodel; None if all models are trained.
    """
    total = sum(model.count_params() for model in models)
    learning = [trained] if trained is not None else models
    num_trainable_params = sum(
        int(np.prod(variable.shape)) for one in learning for variable in one.trainable_variables
    )
    return f"{total:,}, of which {num_trainable_params:,} are trained"
