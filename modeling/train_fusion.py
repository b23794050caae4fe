"""`train --stream fusion`: trained streams -> one model, with or without paired recordings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

import progress
import registry
from errors import UserError
from modeling import calibration, metrics, run_folder, training
from modeling.fused_model import fused_model, outputs_of_streams
from modeling.inputs import Batches
from modeling.recipes import Recipe
from modeling.run_folder import Calibration, RunInfo
from modeling.stream_arrays import ArrayBatches, Arrays
from modeling.train_run import (
    TrainOptions,
    epoch_writer,
    finish,
    new_run_info,
    set_up,
    train_model,
)
from modeling.training_data import TrainingData, class_weights, training_data
from preprocessing.data_folder import DataFolder, is_data_folder, open_data_folder
from preprocessing.leaks import crossings, require_disjoint

UNPAIRED = "fused without paired data"
READ_BATCH = 16


def train_fusion(
    recipe: Recipe,
    runs: dict[str, Path],
    folders: Sequence[DataFolder],
    options: TrainOptions,
) -> RunInfo:
    """Joins trained streams and writes the run folder of the whole.

    Args:
      runs: stream -> its run folder, two at least.
      folders: recordings that have the streams together; empty to use the data that the runs
        were all trained on, or, where those differ, to fuse without paired data.
    Raises:
      UserError: unfinished or unfitting runs, a leak, or a fusion that needs paired recordings.
    """
    infos = {stream: _checked(stream, path) for stream, path in runs.items()}
    recipe = _with_their_labels(recipe, infos)
    set_up(options.seed)
    models = {s: training.load_model(path / run_folder.BEST) for s, path in runs.items()}
    dims = {s: int(model.output["embedding"].shape[-1]) for s, model in models.items()}
    num_classes = len(next(iter(infos.values())).labels)
    build = registry.load("fusions", recipe.fusion)
    fusion = build(tuple(runs), num_classes, dims, **recipe.fusion_settings)
    folders = folders or _common_folders(infos)
    if not folders:
        return _without_pairs(recipe, infos, models, fusion, options)
    return _with_pairs(recipe, infos, models, fusion, folders, options)


def _checked(stream: str, path: Path) -> RunInfo:
    info = run_folder.read_run(path)
    if not info.finished:
        raise UserError(f"{path}: unfinished run; finish it with --resume first")
    if info.streams != (stream,):
        raise UserError(f"{path}: a run of {'+'.join(info.streams)}, not of {stream}")
    return info


def _with_their_labels(recipe: Recipe, infos: dict[str, RunInfo]) -> Recipe:
    sets = {stream: info.label_set for stream, info in infos.items()}
    if len(infos) < 2:
        raise UserError("a fusion joins two runs; name --audio-run and --video-run")
    if len(set(sets.values())) > 1:
        told = ", ".join(f"{stream}: {name}" for stream, name in sets.items())
        raise UserError(
            f"the runs have different label sets ({told}); train both with one --labels"
        )
    for info in infos.values():
        run_folder.label_set_of(info)
    return dataclasses.replace(recipe, labels=next(iter(sets.values())))


def _common_folders(infos: dict[str, RunInfo]) -> list[DataFolder]:
    """The data folders that all runs were trained on, if those are the same and still there."""
    digests = [[data["digest"] for data in info.data] for info in infos.values()]
    if any(other != digests[0] for other in digests):
        return []
    paths = [Path(data["path"]) for data in next(iter(infos.values())).data]
    return [open_data_folder(p) for p in paths] if all(map(is_data_folder, paths)) else []


# === With paired recordings ===


def _with_pairs(
    recipe: Recipe,
    infos: dict[str, RunInfo],
    models: dict[str, keras.Model],
    fusion: keras.Model,
    folders: Sequence[DataFolder],
    options: TrainOptions,
) -> RunInfo:
    data = training_data(folders, recipe.labels, tuple(infos), options.allow_leak)
    leaked = _check_streams_against(data, infos, options.allow_leak)
    info = new_run_info(recipe, data, options, tuple(infos), _joined_input(infos))
    info = _with_parts(info, infos, leaked)
    _require_pairs(data, tuple(infos))
    go_on = run_folder.begin(options.out, info, options.resume, options.overwrite)
    if go_on and run_folder.read_run(options.out).finished:
        return run_folder.read_run(options.out)
    run_folder.write_split(options.out, data.folders)
    streams = outputs_of_streams(models)
    train = _stream_outputs(streams, data, "train", tuple(infos))
    watch = _stream_outputs(streams, data, "validation", tuple(infos))
    history = training.History()
    if go_on:
        fusion, history = training.load_checkpoint(options.out / run_folder.LAST)
    if fusion.trainable_variables:
        _train(recipe, fusion, data, train, watch, options, history)
        fusion = training.load_model(options.out / run_folder.BEST)
    else:
        _calibrate(fusion, tuple(infos), watch)
        history.rows.append(_row(fusion, train, watch))
        epoch_writer(options.out, history, recipe)(history.rows[0])
    logits = _fused_logits(fusion, watch)
    temperature = calibration.fit_temperature(logits, watch["truth"])
    whole = fused_model(models, fusion)
    training.save_model(whole, options.out / run_folder.BEST)
    training.save_model(whole, options.out / run_folder.LAST, dataclasses.asdict(history))
    _, log_prior = class_weights(data, recipe)
    return finish(options.out, info, Calibration(temperature, log_prior), history)


def _check_streams_against(data: TrainingData, infos: dict[str, RunInfo], allow_leak: bool) -> bool:
    """The streams must not have learnt from what the fusion validates or is tested on."""
    leaked = False
    test = [row for folder in data.folders for row in folder.part("test")]
    for stream, info in infos.items():
        found = crossings(info.train_seen, data.parts["validation"].all_rows, not data.notes)
        leaked |= require_disjoint(found, f"training of {stream}, validation here", allow_leak)
        found = crossings(info.seen, test)
        leaked |= require_disjoint(found, f"training of {stream}, test here", allow_leak)
    return leaked


def _stream_outputs(
    streams: keras.Model, data: TrainingData, split: str, names: tuple[str, ...]
) -> Arrays:
    """Outputs of the frozen streams over a part, and `truth` (clips,) int, by record order."""
    batches = Batches(data.parts[split], data.labels, names, READ_BATCH)
    forward = tf.function(lambda inputs: streams(inputs, training=False))
    found: dict[str, list[np.ndarray]] = {}
    with progress.bar(batches.num_batches, f"streams over {split}", "batch") as bar:
        for inputs, labels, _ in batches():
            made = {name: value.numpy() for name, value in forward(inputs).items()}
            made["truth"] = np.argmax(labels.numpy(), axis=1)
            for name, value in made.items():
                found.setdefault(name, []).append(value)
            bar.update()
    return {name: np.concatenate(values) for name, values in found.items()}


def _require_pairs(data: TrainingData, names: tuple[str, ...]) -> None:
    if not any(set(names) <= set(row.streams) for row in data.parts["validation"].all_rows):
        raise UserError(
            f"no validation recording has {' and '.join(names)} together; name --data that has,"
            " or leave --data out to fuse without paired data"
        )


def _train(
    recipe: Recipe,
    fusion: keras.Model,
    data: TrainingData,
    train: Arrays,
    watch: Arrays,
    options: TrainOptions,
    history: training.History,
) -> None:
    num_classes = len(data.labels.labels)
    names = tuple(name[: -len("_present")] for name in train if name.endswith("_present"))
    batches = ArrayBatches(train, names, recipe, num_classes, options.seed)
    watched = ArrayBatches(watch, names, recipe, num_classes)
    train_model(fusion, recipe, data, batches, watched, options, history)


def _calibrate(fusion: keras.Model, names: tuple[str, ...], watch: Arrays) -> None:
    for layer in fusion.layers:
        if hasattr(layer, "calibrate"):
            layer.calibrate(
                [watch[f"{name}_logits"] for name in names],
                [watch[f"{name}_present"] > 0 for name in names],
                watch["truth"],
            )


def _fused_logits(fusion: keras.Model, arrays: Arrays) -> np.ndarray:
    inputs = {name: value for name, value in arrays.items() if name != "truth"}
    return np.asarray(fusion(inputs, training=False)["logits"])


def _row(fusion: keras.Model, train: Arrays, watch: Arrays) -> dict[str, Any]:
    """The history of a fusion without epochs: one row."""
    row: dict[str, Any] = {"epoch": 1, "best": True, "learning_rate": 0.0, "seconds": 0.0}
    row["input_wait_share"] = 0.0
    for prefix, arrays in (("", train), ("val_", watch)):
        logits = _fused_logits(fusion, arrays)
        score = metrics.accuracies(arrays["truth"], logits.argmax(axis=1))
        row[f"{prefix}loss"] = calibration.nll(log_softmax(logits, axis=1), arrays["truth"])
        row |= {f"{prefix}{name}": value for name, value in score.items()}
    return row


# === Without paired recordings ===


def _without_pairs(
    recipe: Recipe,
    infos: dict[str, RunInfo],
    models: dict[str, keras.Model],
    fusion: keras.Model,
    options: TrainOptions,
) -> RunInfo:
    if fusion.trainable_variables:
        raise UserError(
            f"fusion {recipe.fusion!r} learns from recordings that have all streams; name --data"
            " that has, or use late-fusion or s2-two-stream"
        )
    for layer in fusion.layers:
        if hasattr(layer, "assume_independent"):
            layer.assume_independent(
                [info.calibration.temperature for info in infos.values()],
                [info.calibration.log_prior for info in infos.values()],
            )
    first = next(iter(infos.values()))
    info = dataclasses.replace(
        first,
        recipe=recipe,
        streams=tuple(infos),
        seed=options.seed,
        input=_joined_input(infos),
        data=[data for each in infos.values() for data in each.data],
        notes=(UNPAIRED,),
        scores={},
        calibration=Calibration(1.0, first.calibration.log_prior),
        versions=run_folder.versions(),
        git_revision=run_folder.git_revision(),
        command=run_folder.command_line(),
        finished=False,
    )
    info = _with_parts(info, infos, leaked=False)
    run_folder.begin(options.out, info, options.resume, options.overwrite)
    whole = fused_model(models, fusion)
    training.save_model(whole, options.out / run_folder.BEST)
    training.save_model(
        whole, options.out / run_folder.LAST, dataclasses.asdict(training.History())
    )
    done = dataclasses.replace(info, finished=True)
    run_folder.write_run(options.out, done)
    return done


def _joined_input(infos: dict[str, RunInfo]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for info in infos.values():
        joined |= {key: value for key, value in info.input.items() if value is not None}
    return joined


def _with_parts(info: RunInfo, infos: dict[str, RunInfo], leaked: bool) -> RunInfo:
    """Adds what the streams themselves have seen, and how faces were cut for the video stream."""
    each = list(infos.values())
    train_seen, validation_seen = info.train_seen, info.validation_seen
    for other in each:
        train_seen |= other.train_seen
        validation_seen |= other.validation_seen
    preparation = dict(infos["video"].preparation if "video" in infos else info.preparation)
    if "audio" in infos:
        preparation["sample_rate_hz"] = infos["audio"].preparation["sample_rate_hz"]
    return dataclasses.replace(
        info,
        train_seen=train_seen,
        validation_seen=validation_seen,
        preparation=preparation,
        notes=tuple(dict.fromkeys([*info.notes, *(n for o in each for n in o.notes)])),
        leak_allowed=info.leak_allowed or leaked or any(o.leak_allowed for o in each),
        synthetic=info.synthetic or any(o.synthetic for o in each),
        parts={
            s: dataclasses.asdict(o.calibration)
            | {"recipe": o.recipe.name, "features": o.recipe.features, "scores": o.scores}
            for s, o in infos.items()
        },
    )
