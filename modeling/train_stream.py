"""`train --stream audio|video`: data folders and a recipe -> a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import progress
import storage
from errors import UserError
from modeling import calibration, plots, run_folder, training
from modeling.inputs import Batches
from modeling.recipes import Recipe
from modeling.run_folder import Calibration, RunInfo
from modeling.stream_model import InputSpec, build_stream_model, feature_model
from modeling.training_data import TrainingData, class_weights, training_data
from preprocessing.data_folder import DataFolder
from preprocessing.leaks import crossings, require_disjoint

CACHE = "cache"
# Name of the last dense layer of every encoder.
HEAD = "logits"


@dataclass(frozen=True)
class TrainOptions:
    """Choices of one run that are not part of the recipe.

    Attributes:
      init_from: run whose weights training starts from.
    """

    out: Path
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    allow_leak: bool = False
    init_from: Path | None = None


def train_stream(recipe: Recipe, folders: Sequence[DataFolder], options: TrainOptions) -> RunInfo:
    """Trains one stream and writes its run folder.

    Raises:
      UserError: bad data, settings or an occupied `options.out`; nothing already written is lost.
    """
    data = training_data(folders, recipe.labels, (recipe.stream,), options.allow_leak)
    set_up(options.seed)
    spec = _spec(recipe, data)
    model = build_stream_model(recipe, len(data.labels.labels), spec)
    info = new_run_info(recipe, data, options, (recipe.stream,), dataclasses.asdict(spec))
    go_on = run_folder.begin(options.out, info, options.resume, options.overwrite)
    run_folder.write_split(options.out, data.folders)
    _remove_cache(options.out)
    settings: dict[str, Any] = {"frames_as_examples": recipe.frames_as_examples}
    if recipe.stream == "audio":
        settings = {"max_samples": _samples_looked_at(model)}
    train = Batches(
        data.parts["train"],
        data.labels,
        (recipe.stream,),
        recipe.batch_size,
        options.seed,
        recipe.transforms,
        cache_path=str(options.out / CACHE),
        **settings,
    )
    settings.pop("frames_as_examples", None)
    watch_size = max(1, recipe.batch_size // (16 if recipe.stream == "video" else 1))
    watch = Batches(data.parts["validation"], data.labels, (recipe.stream,), watch_size, **settings)
    history = training.History()
    if go_on:
        model, history = training.load_checkpoint(options.out / run_folder.LAST)
    else:
        if recipe.stream == "audio":
            _standardise(model, data, settings["max_samples"])
        if options.init_from is not None:
            copy_weights(options.init_from, model, data.labels.labels)
    weights, log_prior = class_weights(data, recipe)
    total_steps = train.num_batches * recipe.epochs
    trainer = training.Trainer(model, recipe, weights, total_steps, options.seed)
    history = training.fit(
        trainer,
        train,
        watch,
        options.out / run_folder.LAST,
        options.out / run_folder.BEST,
        history,
        epoch_writer(options.out, history, recipe),
    )
    _remove_cache(options.out)
    best = training.load_model(options.out / run_folder.BEST)
    logits, truth = predict_logits(best, watch)
    fitted = Calibration(calibration.fit_temperature(logits, truth), log_prior)
    return finish(options.out, info, fitted, history)


def _remove_cache(out: Path) -> None:
    """Removes decoded records kept on disk; half a cache of a killed run would stop the next."""
    for path in out.glob(f"{CACHE}*"):
        path.unlink()


def set_up(seed: int) -> None:
    """Fixes chance and order of every operation; half precision where a GPU is."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    if tf.config.list_physical_devices("GPU"):
        keras.mixed_precision.set_global_policy("mixed_float16")


def new_run_info(
    recipe: Recipe,
    data: TrainingData,
    options: TrainOptions,
    streams: tuple[str, ...],
    spec: dict[str, Any],
) -> RunInfo:
    """What is known of a run before it starts."""
    seen = {split: data.seen(split) for split in ("train", "validation")}
    leaked = data.leak_allowed
    synthetic = data.synthetic
    if options.init_from is not None:
        earlier = run_folder.read_run(options.init_from)
        test = [row for folder in data.folders for row in folder.part("test")]
        found = crossings(earlier.seen, test)
        leaked |= require_disjoint(
            found, f"what {options.init_from} was trained on, and test", options.allow_leak
        )
        seen["train"] |= earlier.seen
        leaked |= earlier.leak_allowed
        synthetic |= earlier.synthetic
    return RunInfo(
        recipe=recipe,
        streams=streams,
        label_set=recipe.labels,
        labels=data.labels.labels,
        seed=options.seed,
        input=spec,
        preparation=data.folders[0].settings["preparation"],
        data=run_folder.describe_data(data.folders),
        train_seen=seen["train"],
        validation_seen=seen["validation"],
        notes=data.notes,
        leak_allowed=leaked,
        synthetic=synthetic,
        versions=run_folder.versions(),
        git_revision=run_folder.git_revision(),
        command=run_folder.command_line(),
    )


def _spec(recipe: Recipe, data: TrainingData) -> InputSpec:
    if recipe.stream == "audio":
        return InputSpec(sample_rate_hz=data.folders[0].sample_rate_hz)
    face = data.folders[0].settings["preparation"]["face"]
    return InputSpec(face_size_px=face["size_px"], face_channels=3 if face["color"] == "rgb" else 1)


def _samples_looked_at(model: keras.Model) -> int:
    window = model.get_layer("window")
    return int(window.window_samples + window.offset_samples)


def _standardise(model: keras.Model, data: TrainingData, max_samples: int) -> None:
    """Fits mean and deviation of each band on the training part."""
    features = feature_model(model)
    batches = Batches(data.parts["train"], data.labels, ("audio",), 32, max_samples=max_samples)
    forward = tf.function(lambda inputs: features(inputs, training=False), reduce_retracing=True)
    model.get_layer("standardise").adapt(forward(inputs) for inputs, *_ in batches())


def copy_weights(run: Path, model: keras.Model, labels: tuple[str, ...]) -> None:
    """Starts `model` from the weights of a run; its head stays new where the classes are others.

    Args:
      labels: classes of `model`.

    Raises:
      UserError: another stream or encoder.
    """
    earlier = run_folder.read_run(run)
    donor = training.load_model(run / run_folder.BEST)
    # By place: Keras numbers the names of layers through all models of a process.
    theirs, ours = ([v for v in m.variables if "seed" not in v.path] for m in (donor, model))
    alike = [(a, b) for a, b in zip(theirs, ours, strict=False) if a.shape == b.shape]
    same = len(theirs) == len(ours) and all(a.name == b.name for a, b in alike)
    pairs = [(a, b) for a, b in alike if earlier.labels == labels or HEAD not in b.path.split("/")]
    if not same or len(pairs) < len(ours) // 2:
        raise UserError(
            f"--init-from {run}: its model ({earlier.recipe.encoder or earlier.recipe.fusion}) has"
            " another build; start from a run of the same encoder and features"
        )
    for their, our in pairs:
        our.assign(their)
    progress.say(f"started from {run}: {len(pairs)} of {len(ours)} tensors copied")


def epoch_writer(
    out: Path, history: training.History, recipe: Recipe
) -> Callable[[dict[str, Any]], None]:
    """Keeps table, curves and TensorBoard log of a run up to date."""
    log = tf.summary.create_file_writer(str(out / run_folder.TENSORBOARD))

    def write(row: dict[str, Any]) -> None:
        best = history.best_epoch
        rows = [{**r, "best": r["epoch"] == best} for r in history.rows]
        storage.write_csv(out / run_folder.HISTORY, training.COLUMNS, rows)
        plots.curves(rows, out / run_folder.CURVES, f"{recipe.name}, {recipe.labels}")
        with log.as_default(step=row["epoch"]):
            for key in (*training.METRIC_COLUMNS, "learning_rate"):
                tf.summary.scalar(key, row[key])
        log.flush()
        progress.say(
            f"epoch {row['epoch']}: loss {row['loss']:.3f}, UAR {row['uar']:.3f} | validation loss"
            f" {row['val_loss']:.3f}, UAR {row['val_uar']:.3f}{' *' if row['best'] else ''}"
        )

    return write


def predict_logits(model: keras.Model, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """(clips, classes) logits and (clips,) truth, in the order of reading."""
    forward = tf.function(lambda inputs: model(inputs, training=False)["logits"])
    logits, truth = [], []
    for inputs, labels, _ in batches():
        logits.append(forward(inputs).numpy())
        truth.append(np.argmax(labels.numpy(), axis=1))
    return np.concatenate(logits), np.concatenate(truth)


def finish(out: Path, info: RunInfo, fitted: Calibration, history: training.History) -> RunInfo:
    """Writes what is known only at the end."""
    row = next(row for row in history.rows if row["epoch"] == history.best_epoch)
    scores = {key: row[key] for key in training.METRIC_COLUMNS} | {"epoch": row["epoch"]}
    done = dataclasses.replace(info, calibration=fitted, scores=scores, finished=True)
    run_folder.write_run(out, done)
    return done
