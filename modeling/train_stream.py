"""`train --stream audio|video|text`: one network, or several that are averaged -> a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
from keras import layers

import progress
from errors import UserError
from modeling import calibration, checkpoints, run_folder
from modeling.input_spec import InputSpec
from modeling.recipes import Recipe
from modeling.run_folder import Calibration, RunInfo
from modeling.stream_model import MEMBER, NETWORK, build_stream_model
from modeling.train_network import front_end_for, predict_logits, reading_of, train_network
from modeling.train_run import (
    TrainOptions,
    epoch_writer,
    finish,
    new_run_info,
    row_without_epochs,
    set_up,
)
from modeling.training_data import class_weights, training_data
from preprocessing.data_folder import DataFolder


def train_stream(recipe: Recipe, folders: Sequence[DataFolder], options: TrainOptions) -> RunInfo:
    """Trains one stream and writes its run folder.

    A recipe of several members has each of them trained by itself, in OUT/member-0 and so on, with
    seeds of their own; the run then holds the one model that averages them.

    Args:
      folders: prepared corpora, or feature tables with the columns of the recipe's features.
    Raises:
      UserError: bad data, settings or an occupied `options.out`; nothing already written is lost.
    """
    if recipe.members == 1:
        return train_network(recipe, folders, options)
    data = training_data(
        folders,
        recipe.labels,
        (recipe.stream,),
        options.allow_leak,
        options.allow_fixed_sentences,
    )
    set_up(options.seed)
    spec = InputSpec.of(data.folders[0], recipe.stream)
    front_end = front_end_for(recipe, data, options)
    built = build_stream_model(recipe, len(data.labels.labels), spec, front_end=front_end)
    info = new_run_info(recipe, data, options, (recipe.stream,), dataclasses.asdict(spec))
    run_folder.begin(options.out, info, options.resume, options.overwrite)
    run_folder.write_split(options.out, data.folders)
    for number, run in enumerate(_trained_members(recipe, folders, options)):
        member = checkpoints.load_model(run / run_folder.BEST).get_layer(NETWORK)
        _take_weights(built.network.get_layer(f"{MEMBER}{number}"), member, run)
    checkpoints.save_model(built.whole, options.out / run_folder.BEST)
    reading = reading_of(recipe, data, options, front_end, built.front)
    fed = built.network if reading.features_only else built.whole
    learnt, watched = (predict_logits(fed, part) for part in (reading.fitting, reading.watch))
    history = checkpoints.History([row_without_epochs(learnt, watched)])
    epoch_writer(options.out, history, recipe)
    _, log_prior = class_weights(data, recipe)
    fitted = Calibration(calibration.fit_temperature(*watched), log_prior)
    return finish(options.out, info, fitted, history)


def _trained_members(
    recipe: Recipe, folders: Sequence[DataFolder], options: TrainOptions
) -> list[Path]:
    """Run folders of the members: those that are given, or trained now as far as they are not."""
    single = dataclasses.replace(recipe, members=1)
    if options.member_runs:
        return _given_members(single, recipe.members, folders, options)
    runs = []
    for number in range(recipe.members):
        out = options.out / f"{MEMBER}{number}"
        runs.append(out)
        is_begun = run_folder.is_run(out)
        damage = run_folder.damage(out)
        if damage:
            progress.say(f"{damage}; trained anew")
        elif is_begun and run_folder.read_run(out).finished:
            continue
        progress.say(f"network {number + 1} of {recipe.members}")
        of_member = dataclasses.replace(
            options,
            out=out,
            seed=options.seed * recipe.members + number,
            resume=is_begun and not damage,
            overwrite=bool(damage),
            init_member=number,
        )
        train_network(single, folders, of_member)
        keras.backend.clear_session()
    return runs


def _given_members(
    single: Recipe, count: int, folders: Sequence[DataFolder], options: TrainOptions
) -> list[Path]:
    """The runs that are given, held against what would be trained here.

    Raises:
      UserError: too few or many, an unfinished one, one of another training, or the same twice.
    """
    runs = list(options.member_runs)
    if len(runs) != count:
        raise UserError(f"--member-run: {len(runs)} for members={count}; give one for each")
    wanted = run_folder.describe_data(tuple(folders))
    seeds = set()
    for run in runs:
        info = run_folder.read_run(run)
        if not info.finished:
            raise UserError(f"{run}: unfinished run; finish it with `train --resume` first")
        differing = {
            "recipe": info.recipe != single,
            "data": _digests(info.data) != _digests(wanted),
        }
        if names := [name for name, other in differing.items() if other]:
            raise UserError(
                f"{run}: trained with another {' and '.join(names)} than this model; name runs of"
                " the same recipe and settings on the same data and split"
            )
        if info.seed in seeds:
            raise UserError(
                f"{run}: has seed {info.seed} like another of the runs; the same network twice adds"
                " nothing, train it with another --seed"
            )
        seeds.add(info.seed)
    return runs


def _digests(data: Sequence[dict[str, object]]) -> list[tuple[object, object]]:
    return [(one["digest"], one["split_digest"]) for one in data]


def _take_weights(ours: keras.Model, theirs: keras.Model, run: Path) -> None:
    """Copies a trained network into its place in the averaged one.

    Raises:
      UserError: the two are built differently (another vocabulary).
    """
    pairs = list(zip(ours.variables, theirs.variables, strict=False))
    same = len(ours.variables) == len(theirs.variables)
    if not same or any(a.shape != b.shape for a, b in pairs):
        raise UserError(f"{run}: its network has another build; train it again (--overwrite)")
    for our, their in pairs:
        our.assign(their)
    for layer in ours._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # it computes with copies of its variables
