"""One network of a stream: data folders or feature tables -> a run folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.data.array_dataset import table_dataset, uses_feature_tables
from affectstream.modeling.data.feature_cache import FeatureCache
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.subset import Subset
from affectstream.modeling.data.training_data import TrainingData, class_weights, training_data
from affectstream.modeling.features.front_end import (
    FrontEnd,
    TextFrontEnd,
    max_samples_of_front_end,
)
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import NETWORK, STANDARDISE
from affectstream.modeling.metrics import calibration
from affectstream.modeling.models.speed_tta import TTA_NEEDS_AUDIO, samples_for_speeds
from affectstream.modeling.models.stream_model import (
    StreamModel,
    build_stream_model,
    fitted_front_end,
)
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import Calibration, RunInfo
from affectstream.modeling.training import trainer
from affectstream.modeling.training.introduction import (
    format_parameter_counts,
    print_training_summary,
)
from affectstream.modeling.training.training_steps import (
    TrainOptions,
    copy_weights,
    finish_run,
    new_run_info,
    recipe_options,
    set_seed_and_precision,
    source_model,
    train_model,
)
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.dataset.feature_table import FeatureTable

READ_BATCH = 32


@dataclass(frozen=True)
class TrainingDatasets:
    """The data that training reads.

    Attributes:
      train: batches of the training split, shuffled and augmented.
      validation_data: batches of the validation split, in order.
      normalisation_data: batches of the training split, in order and without augmentation.
      features_only: batches hold features instead of raw inputs, so they are fed to the network and
        not to the whole model.
    """

    train: trainer.EpochDataset
    validation_data: trainer.EpochDataset
    normalisation_data: trainer.EpochDataset
    features_only: bool = False


# Takes recipe, data, options, fitted front end and its model; returns the training datasets.
DatasetsOpener = Callable[
    [StreamRecipe, TrainingData, TrainOptions, FrontEnd, keras.Model], TrainingDatasets
]


def train_network(
    recipe: StreamRecipe, folders: Sequence[DataFolder], options: TrainOptions
) -> RunInfo:
    """Trains one network and writes its run folder.

    Args:
      folders: prepared corpora, or feature tables with the columns of the recipe's features.
    Raises:
      UserError: bad data, settings or an occupied `options.out`; nothing already written is lost.
    """
    return train_prepared(*prepare_training(recipe, folders, options), options)


def train_prepared(
    data: TrainingData,
    built: StreamModel,
    info: RunInfo,
    reading: TrainingDatasets,
    options: TrainOptions,
) -> RunInfo:
    """Trains what `prepare_training` prepared and writes the run folder.

    Raises:
      UserError: an occupied `options.out`; nothing already written is lost.
    """
    recipe, model = info.recipe, built.whole
    assert isinstance(recipe, StreamRecipe)
    if options.init_from is not None:
        copy_weights(
            options.init_from, model, recipe, data.labels.labels, options.init_network_index
        )
    go_on = run_folder.prepare_run_folder(options.out, info, options.resume, options.overwrite)
    run_folder.write_split(options.out, data.folders)
    if options.prints_summary:
        parameters = format_parameter_counts(model)
        print_training_summary(
            recipe, data, (recipe.stream,), parameters, options.out, options.seed
        )
    history = checkpoints.History()
    if go_on:
        model, history = checkpoints.load_checkpoint(options.out / run_folder.LAST)
    elif options.init_from is None:
        _standardise(built.network, None if reading.features_only else built.front, reading)
    trainable_submodel = model.get_layer(NETWORK) if reading.features_only else None
    history = train_model(
        model,
        recipe,
        data,
        reading.train,
        reading.validation_data,
        options,
        history,
        trainable_submodel,
    )
    best = checkpoints.load_model(options.out / run_folder.BEST)
    fed = best.get_layer(NETWORK) if reading.features_only else best
    temperature = predict_logits(fed, reading.validation_data).fit_temperature(
        data.subsets["validation"]
    )
    _, log_prior = class_weights(data, recipe)
    fitted = Calibration(temperature, log_prior)
    return finish_run(options.out, info, fitted, history)


def prepare_training(
    recipe: StreamRecipe,
    folders: Sequence[DataFolder],
    options: TrainOptions,
    open_datasets: DatasetsOpener | None = None,
) -> tuple[TrainingData, StreamModel, RunInfo, TrainingDatasets]:
    """Loads data and builds the model for a training; sets the seed and writes nothing.

    Args:
      open_datasets: replaces `open_training_datasets`, e.g. for features standardised by speaker.
    Raises:
      UserError: bad data or settings.
    """
    data = training_data(
        folders,
        recipe.labels,
        (recipe.stream,),
        options.allow_leak,
        options.allow_scripted_text,
    )
    set_seed_and_precision(options.seed)
    spec = InputSpec.of(data.subsets["train"].folder_with_stream(recipe.stream), recipe.stream)
    front_end = _front_end(recipe, data, options)
    built = build_stream_model(recipe, len(data.labels.labels), spec, front_end=front_end)
    info = new_run_info(recipe, data, options, (recipe.stream,), dataclasses.asdict(spec))
    open_datasets = open_datasets or open_training_datasets
    return data, built, info, open_datasets(recipe, data, options, front_end, built.front)


def _front_end(recipe: StreamRecipe, data: TrainingData, options: TrainOptions) -> FrontEnd:
    """The front end; for text with the vocabulary of the training split or of --init-from."""
    if options.init_from is not None and recipe.stream == "text":
        donor = source_model(options.init_from, recipe.stream)
        try:
            text_front_end: TextFrontEnd = dataclasses.replace(
                registry.load("features", recipe.features), **recipe.features_settings
            )
            return text_front_end.from_model(donor)
        except ValueError as error:
            raise UserError(
                f"--init-from {options.init_from}: no run of features {recipe.features!r}; take its"
                f" recipe ({recipe_options(options.init_from, recipe.stream)})"
            ) from error
    if recipe.stream == "text" and uses_feature_tables(data.subsets["train"]):
        return _front_end_of_tables(recipe, data.folders)
    texts = [row.transcript for row in data.subsets["train"].all_rows]
    return fitted_front_end(recipe, texts if recipe.stream == "text" else ())


def _front_end_of_tables(recipe: StreamRecipe, tables: Sequence[DataFolder]) -> FrontEnd:
    """The text front end that the tables were written with.

    Raises:
      UserError: the front end is unknown, of another kind, or differs between the tables.
    """
    first = tables[0]
    origin = first.provenance if isinstance(first, FeatureTable) else {}
    if origin.get("features") != recipe.features or "front_end" not in origin:
        raise UserError(
            f"{first.path}: what its columns stand for is not known (no {first.path.name}.json of"
            f" features {recipe.features!r} beside it); write it with `features --features"
            f" {recipe.features}`"
        )
    if any(getattr(table, "provenance", {}) != origin for table in tables[1:]):
        raise UserError(f"{first.path}: the tables were fitted apart; write one from all the data")
    return registry.load("features", recipe.features).with_fields(origin["front_end"])


# === Reading ===


def open_training_datasets(
    recipe: StreamRecipe,
    data: TrainingData,
    options: TrainOptions,
    front_end: FrontEnd,
    front: keras.Model,
) -> TrainingDatasets:
    if uses_feature_tables(data.subsets["train"]):
        return _table_datasets(recipe, data, options.seed, front_end)
    streams, max_samples = (recipe.stream,), max_samples_of_recipe(recipe)
    train, validation = data.subsets["train"], data.subsets["validation"]
    if recipe.cached_augmentations and not recipe.tta_speeds:  # the cache holds one speed
        return _cached_datasets(recipe, data, options.seed, front)
    is_video = recipe.stream == "video"
    batch_size = recipe.training.batch_size
    validation_batch_size = max(1, batch_size // 16) if is_video else batch_size
    fitting_size = validation_batch_size if is_video else READ_BATCH
    if recipe.tta_speeds:  # the model holds one row for each speed
        num_speeds = len(recipe.tta_speed_values)
        validation_batch_size, fitting_size = (
            max(1, n // num_speeds) for n in (validation_batch_size, fitting_size)
        )
    read = functools.partial(
        RecordDataset, labels=data.labels, streams=streams, max_samples=max_samples
    )
    training = read(
        train,
        batch_size=batch_size,
        seed=options.seed,
        transforms=recipe.transforms,
        frames_as_examples=recipe.frames_as_examples,
    )
    validation_data = read(
        validation,
        batch_size=validation_batch_size,
        is_repeated=True,
        used_memory_bytes=training.memory_bytes,
    )
    return TrainingDatasets(training, validation_data, read(train, batch_size=fitting_size))


def _table_datasets(
    recipe: StreamRecipe, data: TrainingData, seed: int, front_end: FrontEnd
) -> TrainingDatasets:
    if recipe.transforms or recipe.cached_augmentations:
        raise UserError(
            f"transforms={recipe.transforms}, cached_augmentations={recipe.cached_augmentations}:"
            " they change recordings, a feature table has none; leave them out (--set transforms="
            " --set cached_augmentations=0)"
        )
    if recipe.tta_speeds:
        raise UserError(f"tta_speeds={recipe.tta_speeds}: {TTA_NEEDS_AUDIO}")
    train, validation = data.subsets["train"], data.subsets["validation"]
    return TrainingDatasets(
        table_dataset(train, data.labels, recipe, front_end, seed),
        table_dataset(validation, data.labels, recipe, front_end),
        table_dataset(train, data.labels, recipe, front_end),
        features_only=True,
    )


def _cached_datasets(
    recipe: StreamRecipe, data: TrainingData, seed: int, front: keras.Model
) -> TrainingDatasets:
    """Features of augmented copies, computed once here."""

    def cached(split: str, seed: int | None, copies: int) -> FeatureCache:
        subset, max_samples = data.subsets[split], max_samples_of_recipe(recipe)
        return FeatureCache(subset, data.labels, recipe, front, max_samples, seed, copies)

    return TrainingDatasets(
        cached("train", seed, recipe.cached_augmentations),
        cached("validation", None, 1),
        cached("train", None, 1),
        features_only=True,
    )


def max_samples_of_recipe(recipe: StreamRecipe) -> int | None:
    """Number of audio samples that the model reads from a clip; None for other streams."""
    if recipe.stream != "audio":
        return None
    num_samples = max_samples_of_front_end(registry.load("features", recipe.features))
    if not recipe.tta_speeds:
        return num_samples
    return samples_for_speeds(recipe.tta_speed_values, num_samples)


def _standardise(
    network: keras.Model, front: keras.Model | None, reading: TrainingDatasets
) -> None:
    """Fits means and deviations on the training split, on the unmasked frames of each clip.

    Args:
      front: from raw inputs to features; None if features are read.
    """
    if not any(layer.name == STANDARDISE for layer in network.layers):
        return

    def values() -> Iterator[tf.Tensor]:
        for inputs, *_ in reading.normalisation_data():
            outputs = inputs if forward is None else forward(inputs)
            features = outputs["features"]
            yield (
                tf.boolean_mask(features, outputs["mask"])[None] if "mask" in outputs else features
            )

    forward = None
    if front is not None:
        forward = tf.function(lambda inputs: front(inputs, training=False), reduce_retracing=True)
    network.get_layer(STANDARDISE).adapt(values())


@dataclass(frozen=True)
class LogitPredictions:
    """Outputs of a network on a subset, in reading order.

    Attributes:
      logits: (examples, classes) float.
      truth: (examples,) int.
      index: (examples,) int, the record of each example in the order of `Subset.all_rows`.
    """

    logits: np.ndarray
    truth: np.ndarray
    index: np.ndarray

    def fit_temperature(self, subset: Subset) -> float:
        """Fits a temperature to the predictions on `subset`."""
        return calibration.fit_temperature(self.logits, self.truth, subset.speakers[self.index])


def predict_logits(model: keras.Model, batches: trainer.EpochDataset) -> LogitPredictions:
    """Predicts all examples of the batches."""
    forward = tf.function(
        lambda inputs: model(inputs, training=False)["logits"], reduce_retracing=True
    )
    by_batch = [
        (forward(inputs).numpy(), np.argmax(labels.numpy(), axis=1), index.numpy())
        for inputs, labels, index in batches()
    ]
    return LogitPredictions(*map(np.concatenate, zip(*by_batch, strict=True)))
