"""`train --stream audio|video`: data folders and a recipe -> a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import registry
from modeling import calibration, run_folder, training
from modeling.features.front_end import AudioFrontEnd
from modeling.input_spec import InputSpec
from modeling.inputs import Batches
from modeling.recipes import Recipe
from modeling.run_folder import Calibration, RunInfo
from modeling.stream_model import STANDARDISE, StreamModel, build_stream_model
from modeling.train_run import (
    TrainOptions,
    copy_weights,
    finish,
    new_run_info,
    set_up,
    train_model,
)
from modeling.training_data import TrainingData, class_weights, training_data
from preprocessing.data_folder import DataFolder

CACHE = "cache"


def train_stream(recipe: Recipe, folders: Sequence[DataFolder], options: TrainOptions) -> RunInfo:
    """Trains one stream and writes its run folder.

    Raises:
      UserError: bad data, settings or an occupied `options.out`; nothing already written is lost.
    """
    data = training_data(folders, recipe.labels, (recipe.stream,), options.allow_leak)
    set_up(options.seed)
    spec = InputSpec.of(data.folders[0], recipe.stream)
    built = build_stream_model(recipe, len(data.labels.labels), spec)
    model = built.whole
    info = new_run_info(recipe, data, options, (recipe.stream,), dataclasses.asdict(spec))
    if options.init_from is not None:
        copy_weights(options.init_from, model, data.labels.labels)
    go_on = run_folder.begin(options.out, info, options.resume, options.overwrite)
    run_folder.write_split(options.out, data.folders)
    _remove_cache(options.out)
    max_samples = samples_looked_at(recipe)
    train = Batches(
        data.parts["train"],
        data.labels,
        (recipe.stream,),
        recipe.batch_size,
        options.seed,
        recipe.transforms,
        recipe.frames_as_examples,
        max_samples,
        str(options.out / CACHE),
    )
    watch = Batches(
        data.parts["validation"],
        data.labels,
        (recipe.stream,),
        max(1, recipe.batch_size // (16 if recipe.stream == "video" else 1)),
        max_samples=max_samples,
    )
    history = training.History()
    if go_on:
        model, history = training.load_checkpoint(options.out / run_folder.LAST)
    elif options.init_from is None:
        _standardise(built, recipe, data)
    history = train_model(model, recipe, data, train, watch, options, history)
    _remove_cache(options.out)
    best = training.load_model(options.out / run_folder.BEST)
    logits, truth = predict_logits(best, watch)
    _, log_prior = class_weights(data, recipe)
    fitted = Calibration(calibration.fit_temperature(logits, truth), log_prior)
    return finish(options.out, info, fitted, history)


def _remove_cache(out: Path) -> None:
    """Removes decoded records kept on disk; half a cache of a killed run would stop the next."""
    for path in out.glob(f"{CACHE}*"):
        path.unlink()


def samples_looked_at(recipe: Recipe) -> int | None:
    """Sound behind this is never read by the model; None for another stream."""
    if recipe.stream != "audio":
        return None
    front_end: AudioFrontEnd = registry.load("features", recipe.features)
    return front_end.window_samples + front_end.offset_samples


def _standardise(built: StreamModel, recipe: Recipe, data: TrainingData) -> None:
    """Fits means and deviations on the training part, of what counts in each clip."""
    if not any(layer.name == STANDARDISE for layer in built.network.layers):
        return
    batches = Batches(
        data.parts["train"],
        data.labels,
        (recipe.stream,),
        32,
        max_samples=samples_looked_at(recipe),
    )
    forward = tf.function(lambda inputs: built.front(inputs, training=False), reduce_retracing=True)

    def values() -> Iterator[tf.Tensor]:
        for inputs, *_ in batches():
            made = forward(inputs)
            whole = made["features"]
            yield tf.boolean_mask(whole, made["mask"]) if "mask" in made else whole

    built.network.get_layer(STANDARDISE).adapt(values())


def predict_logits(model: keras.Model, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """(clips, classes) logits and (clips,) truth, in the order of reading."""
    forward = tf.function(lambda inputs: model(inputs, training=False)["logits"])
    logits, truth = [], []
    for inputs, labels, _ in batches():
        logits.append(forward(inputs).numpy())
        truth.append(np.argmax(labels.numpy(), axis=1))
    return np.concatenate(logits), np.concatenate(truth)
