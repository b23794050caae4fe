"""`train --stream audio|video|text`: one network, or several that are averaged -> a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from affectstream.core import progress
from affectstream.core.errors import UserError
from affectstream.modeling.data.training_data import class_weights
from affectstream.modeling.layer_names import MEMBER_PREFIX, NETWORK
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import Calibration, RunInfo
from affectstream.modeling.training.introduction import (
    format_parameter_counts,
    print_training_summary,
)
from affectstream.modeling.training.train_single import (
    predict_logits,
    prepare_training,
    train_network,
)
from affectstream.modeling.training.training_steps import (
    TrainOptions,
    copy_variables,
    copy_weights,
    epoch_writer,
    finish_run,
    row_without_epochs,
)
from affectstream.preprocessing.dataset.data_folder import DataFolder


def train_stream(
    recipe: StreamRecipe, folders: Sequence[DataFolder], options: TrainOptions
) -> RunInfo:
    """Trains one stream and writes its run folder.

    Each network of an ensemble or of test-time augmentation trains by itself in OUT/member-0 and so
    on, with its own seed. The run then holds the one model that combines them.

    Args:
      folders: prepared corpora, or feature tables with the columns of the recipe's features.
    Raises:
      UserError: bad data, settings or an occupied `options.out`; nothing already written is lost.
    """
    if not recipe.is_ensemble:
        return train_network(recipe, folders, options)
    data, built, info, reading = prepare_training(recipe, folders, options)
    # Every check comes before anything is written.
    runs = _reused_members(recipe, info, options)
    if options.init_from is not None:
        run_folder.require_outside(options.init_from, "--init-from", options.out)
        trial = built.network.get_layer(f"{MEMBER_PREFIX}0")
        copy_weights(options.init_from, trial, recipe, data.labels.labels)
    run_folder.prepare_run_folder(options.out, info, options.resume, options.overwrite)
    run_folder.write_split(options.out, data.folders)
    if options.prints_summary:
        parameters = format_parameter_counts(built.whole)
        print_training_summary(
            recipe, data, (recipe.stream,), parameters, options.out, options.seed
        )
    runs = runs or _trained_members(recipe.single_network, recipe.ensemble_size, folders, options)
    for number, run in enumerate(runs):
        member = checkpoints.load_model(run / run_folder.BEST).get_layer(NETWORK)
        _take_weights(built.network.get_layer(f"{MEMBER_PREFIX}{number}"), member, run)
    checkpoints.save_model(built.whole, options.out / run_folder.BEST)
    members = [{"run": str(run), "seed": run_folder.read_run(run).seed} for run in runs]
    info = dataclasses.replace(info, ensemble_members=members)
    model = built.network if reading.features_only else built.whole
    train_predictions, validation_predictions = (
        predict_logits(model, batches)
        for batches in (reading.normalisation_data, reading.validation_data)
    )
    train, validation = (
        (part.logits, part.truth) for part in (train_predictions, validation_predictions)
    )
    history = checkpoints.History([row_without_epochs(train, validation)])
    epoch_writer(options.out, history, recipe)
    _, log_prior = class_weights(data, recipe)
    fitted = Calibration(
        validation_predictions.fit_temperature(data.subsets["validation"]), log_prior
    )
    return finish_run(options.out, info, fitted, history)


def _trained_members(
    single: StreamRecipe, count: int, folders: Sequence[DataFolder], options: TrainOptions
) -> list[Path]:
    """Run folders of the ensemble members within the run; trains those that are not finished."""
    runs = [options.out / f"{MEMBER_PREFIX}{number}" for number in range(count)]
    for number, run in enumerate(runs):
        if _is_trained(run, single):
            continue
        damage = run_folder.find_damage(run)
        if damage:
            progress.print_message(f"{damage}; trained anew")
        progress.print_message(f"network {number + 1} of {count}")
        member_options = dataclasses.replace(
            options,
            out=run,
            seed=options.seed * count + number,
            resume=run_folder.is_run(run) and not damage,
            overwrite=bool(damage),
            init_network_index=number,
            prints_summary=False,
        )
        train_network(single, folders, member_options)
    return runs


def _is_trained(run: Path, recipe: StreamRecipe) -> bool:
    """Whether a run is finished and its model intact; the checkpoint is no longer needed."""
    if not run_folder.is_run(run) or run_folder.find_damage(run, (run_folder.BEST,)):
        return False
    info = run_folder.read_run(run)
    return info.finished and info.recipe == recipe


def _reused_members(recipe: StreamRecipe, info: RunInfo, options: TrainOptions) -> list[Path]:
    """Checks the runs of --ensemble-run against this recipe and data; empty if none are named.

    Args:
      info: of the ensemble run.
    Raises:
      UserError: too few or many runs, an unfinished run, a run of other settings or data, or the
        same seed twice.
    """
    runs = list(options.ensemble_runs)
    if not runs:
        return []
    if len(runs) != recipe.ensemble_size:
        raise UserError(
            f"--ensemble-run: {len(runs)} for ensemble_size={recipe.ensemble_size};"
            " give one for each"
        )
    if options.init_from is not None:
        raise UserError(
            "--init-from: the networks of --ensemble-run are trained already; leave it out"
        )
    wanted, seeds = (
        _ensemble_properties(dataclasses.replace(info, recipe=recipe.single_network)),
        set(),
    )
    for run in runs:
        run_folder.require_outside(run, "--ensemble-run", options.out)
        member_info = run_folder.read_run(run)
        if not member_info.finished:
            raise UserError(f"{run}: unfinished run; finish it with `train --resume` first")
        properties = _ensemble_properties(member_info)
        if names := [name for name, value in wanted.items() if properties[name] != value]:
            raise UserError(
                f"{run}: another {' and '.join(names)} than this model would have; name runs of the"
                " same recipe and settings on the same data and split, not started from others"
            )
        if member_info.seed in seeds:
            raise UserError(
                f"{run}: has seed {member_info.seed} like another of the runs; the same network"
                " twice adds nothing, train it with another --seed"
            )
        seeds.add(member_info.seed)
    return runs


def _ensemble_properties(info: RunInfo) -> dict[str, Any]:
    """Properties in which the networks of an ensemble must agree."""
    data = [(one["digest"], one["split_digest"]) for one in info.data]
    seen = (info.train_footprint, info.validation_footprint, info.leak_allowed)
    known = {"recipe": info.recipe, "labels": info.labels, "input": info.input}
    return {**known, "data": data, "training": seen}


def _take_weights(ours: keras.Model, theirs: keras.Model, run: Path) -> None:
    """Copies a trained network into its place in the ensemble.

    Raises:
      UserError: the two networks have different shapes (another vocabulary).
    """
    pairs = list(zip(theirs.variables, ours.variables, strict=False))
    same = len(ours.variables) == len(theirs.variables)
    if not same or any(a.shape != b.shape or a.name != b.name for a, b in pairs):
        raise UserError(f"{run}: its network has another build; train it again (--overwrite)")
    copy_variables(ours, pairs)
