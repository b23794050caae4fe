"""Leakage scenarios: the same folds, each time with one deliberate protocol fault."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from affectstream.core import atomic_io, progress, registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import keyed_rng
from affectstream.modeling.crossval.config import Crossval, data_for_fold, training_folders
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.crossval.run import run_crossval
from affectstream.modeling.crossval.task import PREDICTIONS, mark_done, train_options_for
from affectstream.modeling.data.array_dataset import table_dataset
from affectstream.modeling.data.feature_cache import FeatureCache
from affectstream.modeling.data.subset import Subset, class_indices
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.features.front_end import Axes, FrontEnd
from affectstream.modeling.layer_names import NETWORK
from affectstream.modeling.metrics import classification
from affectstream.modeling.models.stream_model import fitted_front_end
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.modeling.training import trainer
from affectstream.modeling.training.train_single import (
    TrainingDatasets,
    max_samples_of_recipe,
    predict_logits,
    prepare_training,
    train_prepared,
)
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine
from affectstream.preprocessing.dataset.data_folder import Splits
from affectstream.preprocessing.dataset.feature_table import FeatureTable
from affectstream.preprocessing.dataset.splits import add_augmented_copies

RANDOM_SPLIT, TEST_EPOCH, SPEAKER_NORM = "random-split", "test-epoch", "speaker-norm"
ALL = "all"
BASELINE = "baseline"
# Kind -> note stored in its runs.
LEAKAGE_NOTES = {
    RANDOM_SPLIT: "LEAK random-split: clips are dealt at random, speakers stand on all sides",
    TEST_EPOCH: "LEAK test-epoch: epoch, temperature and fusion are chosen on the tested speakers",
    SPEAKER_NORM: (
        "LEAK speaker-norm: features are standardised over all clips of their speaker, the tested"
        " ones too; the model expects them so"
    ),
}
LEAKAGE_SCENARIOS = tuple(LEAKAGE_NOTES)
# Leakage scenarios run with this seed only.
LEAKAGE_SEED = 0
MIN_STD = 1e-6


# === Scenarios ===


def choose_leakage_scenarios(crossval: Crossval, words: Sequence[str]) -> tuple[str, ...]:
    """The requested scenarios in fixed order; "all" selects those that the recipe allows.

    Raises:
      UserError: a requested scenario is not available for the recipe.
    """
    chosen = []
    for kind in (
        LEAKAGE_SCENARIOS if ALL in words else (kind for kind in LEAKAGE_SCENARIOS if kind in words)
    ):
        why = _why_not(crossval, kind)
        told = f"--leakage-scenario {kind}: not offered for recipe {crossval.recipe.name}: {why}"
        if why and ALL not in words:
            raise UserError(told)
        if why:
            progress.print_message(told)
        else:
            chosen.append(kind)
    return tuple(chosen)


def _why_not(crossval: Crossval, kind: str) -> str:
    """Reason why a kind is not available, "" if it is."""
    recipe = crossval.recipe
    if any(one.is_ensemble for one in (recipe, *crossval.stream_recipes)):
        return "only of single networks; leave ensemble_size and tta_speeds out"
    if kind != SPEAKER_NORM:
        return ""
    if not isinstance(recipe, StreamRecipe) or recipe.stream != "audio":
        return f"of sound only, it is of {recipe.stream}"
    if registry.load("features", recipe.features).standardise_axis is None:
        return f"its features {recipe.features} are not standardised"
    if not recipe.cached_augmentations and not isinstance(crossval.data, FeatureTable):
        return "it caches no features; give --set cached_augmentations=N, or a feature table"
    return ""


def run_leakage_scenarios(
    crossval: Crossval,
    kinds: Sequence[str],
    engine: Engine = SerialEngine(),  # noqa: B008  (frozen)
) -> dict[str, list[dict[str, str]]]:
    """Trains and predicts all folds with each fault, seed 0 only, in `OUT/leak-KIND`.

    Resumable like the baseline; the folders and predictions of the baseline are not touched.

    Args:
      kinds: from `choose_leakage_scenarios`.
      engine: see `run_crossval`.
    Returns:
      kind -> rows of its `predictions.csv`: each clip once.
    Raises:
      UserError: a folder holds a crossval with other settings, or other files.
    """
    works = {SPEAKER_NORM: train_speaker_normalised}
    return {
        kind: run_crossval(with_leakage(crossval, kind), works.get(kind), engine) for kind in kinds
    }


def with_leakage(crossval: Crossval, kind: str) -> Crossval:
    """The same crossval with one fault, one seed and its own folder.

    A fusion trains its streams again with the same fault.
    """
    recipe, parts, data = crossval.recipe, crossval.stream_recipes, crossval.data
    extra = crossval.extra_train_data
    folds = crossval.folds
    splits = [data_for_fold(crossval, fold).splits for fold in folds]
    if kind == RANDOM_SPLIT:
        splits = _random_splits(crossval)
        folds = tuple(Fold(fold.number, (), ()) for fold in folds)
    elif kind == TEST_EPOCH:
        splits = [_chosen_on_test(split) for split in splits]
        folds = tuple(Fold(fold.number, fold.test, fold.test) for fold in folds)
        recipe = recipe.with_training(keep_epoch="best")
        parts = tuple(part.with_training(keep_epoch="best") for part in parts)
    elif isinstance(data, FeatureTable):
        data = _table_by_speaker(data, recipe.features)
        tables = [table for table in extra if isinstance(table, FeatureTable)]
        extra = tuple(_table_by_speaker(table, recipe.features) for table in tables)
    note = LEAKAGE_NOTES[kind]
    return dataclasses.replace(
        crossval,
        recipe=recipe,
        stream_recipes=parts,
        data=data,
        folds=folds,
        num_seeds=LEAKAGE_SEED + 1,
        out=crossval.out / f"leak-{kind}",
        reuse_streams=None,
        reuse_ensemble=None,
        leakage=kind,
        extra_train_data=extra,
        splits=tuple(dataclasses.replace(s, notes=(*s.notes, note)) for s in splits),
    )


def leakage_scores(
    baseline: Sequence[dict[str, str]],
    leaked: dict[str, list[dict[str, str]]],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """UAR and WA of each protocol with seed 0, the baseline first.

    Args:
      baseline: rows of the baseline `predictions.csv`, of all seeds.
      leaked: from `run_leakage_scenarios`.
    Returns:
      for each `protocol`: `uar`, `wa`, `uar_difference` to the baseline, `num_clips`, `note`; empty
      without leakage scenarios.
    """
    if not leaked:
        return []
    number = {label: i for i, label in enumerate(labels)}
    found: list[dict[str, Any]] = []
    same_seed = [row for row in baseline if row["seed"] == str(LEAKAGE_SEED)]
    for protocol, rows in {BASELINE: same_seed, **leaked}.items():
        truth, predicted = (
            np.array([number[row[key]] for row in rows]) for key in ("label", "predicted")
        )
        scores = classification.accuracies(truth, predicted)
        scores["uar_difference"] = scores["uar"] - (found[0]["uar"] if found else scores["uar"])
        told = {"num_clips": len(rows), "note": LEAKAGE_NOTES.get(protocol, "")}
        found.append({"protocol": protocol, **scores, **told})
    return found


# === Splits ===


def _random_splits(crossval: Crossval) -> list[Splits]:
    """Assigns clips at random to as many folds; about as many validate as in the baseline fold."""
    ids = sorted(row.id for row in crossval.rows)
    keyed_rng(LEAKAGE_SEED, 0, "", RANDOM_SPLIT).shuffle(ids)
    count = len(crossval.folds)
    ids_per_fold = [ids[start::count] for start in range(count)]
    usable = [row for row in crossval.data.rows if not row.excluded]
    splits = []
    for index, fold in enumerate(crossval.folds):
        num_validation = sum(row.speaker in fold.validation for row in crossval.rows)
        sides = dict.fromkeys(ids, "train") | dict.fromkeys(ids_per_fold[index], "test")
        following = ids_per_fold[(index + 1) % count][:num_validation]
        sides |= dict.fromkeys(following, "validation")
        parts = {
            split: tuple(row.id for row in usable if sides.get(row.id) == split)
            for split in ("train", "validation", "test")
        }
        rule = {
            "kind": "crossval",
            "num_folds": count,
            "fold": fold.number,
            "leakage": RANDOM_SPLIT,
        }
        splits.append(add_augmented_copies(usable, Splits(parts, rule)))
    return splits


def _chosen_on_test(splits: Splits) -> Splits:
    """Validates on the test clips; the original validation clips are not used."""
    parts = {**splits.parts, "validation": splits.parts["test"]}
    rule = {**splits.rule, "validation": splits.rule["test"], "leakage": TEST_EPOCH}
    return Splits(parts, rule, splits.notes)


# === Features by speaker ===


def standardise_by_speaker(
    values: np.ndarray, speakers: np.ndarray, axis: Axes, mask: np.ndarray | None = None
) -> None:
    """Gives each feature mean 0 and deviation 1 over all clips of each speaker, in place.

    Args:
      values: (clips, ...) float.
      speakers: (clips,) str.
      axis: of `values` along which the features lie, or several, see `FrontEnd.standardise_axis`.
      mask: (clips, frames) bool, True for valid frames, for values of shape (clips, frames,
        features); other frames become 0.
    """
    axes = (axis,) if isinstance(axis, int) else axis
    last = range(-len(axes), 0)
    for name in np.unique(speakers):
        own = speakers == name
        moved = np.moveaxis(values[own].astype(np.float64), axes, last)
        features = moved.shape[-len(axes) :]
        counted = moved.reshape(-1, *features) if mask is None else moved[mask[own]]
        if not len(counted):
            continue
        deviation = counted.std(axis=0)
        moved = (moved - counted.mean(axis=0)) / np.where(deviation < MIN_STD, 1, deviation)
        if mask is not None:
            moved[~mask[own]] = 0.0
        values[own] = np.moveaxis(moved, last, axes)


def _table_by_speaker(table: FeatureTable, features: str) -> FeatureTable:
    values = table.values.copy()
    speakers = np.array([row.speaker for row in table.rows])
    standardise_by_speaker(values, speakers, _axis(registry.load("features", features)))
    return dataclasses.replace(table, values=values)


def _axis(front_end: FrontEnd) -> Axes:
    if front_end.standardise_axis is None:
        raise UserError(
            f"--leakage-scenario {SPEAKER_NORM}: of features that are standardised only"
        )
    return front_end.standardise_axis


class _CopiesBySpeaker(FeatureCache):
    """Feature cache, standardised over all cached values of each speaker."""

    def standardise(self, part: Subset, axis: Axes) -> None:
        kept, mask = self._copies["features"], self._copies.get("mask")
        speakers = np.tile([row.speaker for row in part.all_rows], len(kept))
        flat = None if mask is None else mask.reshape(-1, *mask.shape[2:])
        standardise_by_speaker(kept.reshape(-1, *kept.shape[2:]), speakers, axis, flat)


def _read_by_speaker(
    data: TrainingData,
    split: str,
    recipe: StreamRecipe,
    front_end: FrontEnd,
    front: keras.Model,
    seed: int | None = None,
) -> trainer.EpochDataset:
    """Batches of features standardised by speaker; seed None reads in order."""
    part = data.subsets[split]
    if isinstance(part.folders[0], FeatureTable):  # standardised in `with_leakage`
        return table_dataset(part, data.labels, recipe, front_end, seed)
    max_samples, copies = max_samples_of_recipe(recipe), max(1, recipe.cached_augmentations)
    kept = _CopiesBySpeaker(part, data.labels, recipe, front, max_samples, seed, copies)
    kept.standardise(part, _axis(front_end))
    return kept


def _open_speaker_normalised(
    recipe: StreamRecipe,
    data: TrainingData,
    options: TrainOptions,
    front_end: FrontEnd,
    front: keras.Model,
) -> TrainingDatasets:
    read = functools.partial(
        _read_by_speaker, data, recipe=recipe, front_end=front_end, front=front
    )
    train, validation = read("train", seed=options.seed), read("validation")
    return TrainingDatasets(train, validation, read("train"), features_only=True)


def train_speaker_normalised(crossval: Crossval, fold: Fold, seed: int) -> None:
    """Trains one fold of `speaker-norm`: as `train_stream`, on features standardised by speaker.

    Such a model predicts only from features standardised by speaker, so the test split is
    standardised here as well. `evaluate` on its run folder would feed it other features.
    """
    recipe = crossval.recipe
    assert isinstance(recipe, StreamRecipe)
    keras.backend.clear_session()
    options = train_options_for(crossval, fold, seed)
    folders = training_folders(crossval, fold, recipe.stream)
    data, built, info, reading = prepare_training(
        recipe, folders, options, _open_speaker_normalised
    )
    info = dataclasses.replace(info, leak_allowed=True)
    info = train_prepared(data, built, info, reading, options)
    best = checkpoints.load_model(options.out / run_folder.BEST).get_layer(NETWORK)
    test = _read_by_speaker(data, "test", recipe, fitted_front_end(recipe, ()), built.front)
    logits = predict_logits(best, test).logits
    probabilities = softmax(logits / info.calibration.temperature, axis=1)
    _write_predictions(options.out, data, probabilities, info)
    mark_done(crossval, fold, seed)


def _write_predictions(
    path: Path, data: TrainingData, probabilities: np.ndarray, info: RunInfo
) -> None:
    """Writes predictions in the format of `evaluate`."""
    rows = [
        {
            "id": row.id,
            "speaker": row.speaker,
            "label": info.labels[truth],
            "predicted": info.labels[int(values.argmax())],
            **{name: f"{v:.6f}" for name, v in zip(info.labels, values, strict=True)},
        }
        for row, truth, values in zip(
            data.subsets["test"].all_rows,
            class_indices(data.subsets["test"], data.labels),
            probabilities,
            strict=True,
        )
    ]
    columns = ("id", "speaker", "label", "predicted", *info.labels)
    atomic_io.write_csv(path / PREDICTIONS, columns, rows)
