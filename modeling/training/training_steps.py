"""Steps shared by the training of a stream and of a fusion."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from affectstream.core import atomic_io, progress, storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.data.training_data import TrainingData, class_weights
from affectstream.modeling.layer_names import HEAD, MEMBER_PREFIX, NETWORK, stream_layer
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.metrics import calibration, classification, plots
from affectstream.modeling.recipes.recipe import Recipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import Calibration, RunInfo
from affectstream.modeling.training import trainer as training
from affectstream.preprocessing.dataset.leakage import (
    overlaps,
    require_disjoint,
    shared_speaker_id_notes,
)
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT

# Drawing takes longer than an epoch of a small network.
CURVES_EVERY_S = 10.0


@dataclass(frozen=True)
class TrainOptions:
    """Choices of one run that are not part of the recipe.

    Attributes:
      init_from: run whose weights training starts from.
      init_network_index: which network of that run, if it is an ensemble.
      ensemble_runs: for an ensemble recipe, finished runs that are used as its networks.
      allow_scripted_text: train on text that carries no information about the label.
      unpaired: fuse without paired data even if the streams were trained on the same data.
      prints_summary: print a summary first; off for one network of an ensemble.
    """

    out: Path
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    allow_leak: bool = False
    init_from: Path | None = None
    allow_scripted_text: bool = False
    init_network_index: int = 0
    ensemble_runs: tuple[Path, ...] = ()
    unpaired: bool = False
    prints_summary: bool = True


def set_seed_and_precision(seed: int) -> None:
    """Seeds all random generators, makes operations deterministic, half precision on GPU."""
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
    """The run info that is known before training."""
    seen = {split: data.footprint(split) for split in ("train", "validation")}
    leaked = data.leak_allowed
    synthetic = data.synthetic
    if options.init_from is not None:
        source = run_folder.read_run(options.init_from)
        leaked |= _check_start_against(data, source, options)
        # Kept apart, as in the earlier run: data that selected an epoch then may select one again.
        seen["train"] |= source.train_footprint
        seen["validation"] |= source.validation_footprint
        leaked |= source.leak_allowed
        synthetic |= source.synthetic
    everybody = seen["train"] | seen["validation"] | data.test_footprint
    return RunInfo(
        recipe=recipe,
        streams=streams,
        label_set=recipe.labels,
        labels=data.labels.labels,
        seed=options.seed,
        input=spec,
        preparation=data.preparation,
        data=run_folder.describe_data(data.folders),
        train_footprint=seen["train"],
        validation_footprint=seen["validation"],
        notes=tuple(dict.fromkeys([*data.notes, *shared_speaker_id_notes(everybody.speakers)])),
        leak_allowed=leaked,
        synthetic=synthetic,
        versions=run_folder.versions(),
        git_revision=run_folder.git_revision(),
        command=run_folder.command_line(),
    )


def _check_start_against(data: TrainingData, earlier: RunInfo, options: TrainOptions) -> bool:
    """The training data of --init-from must not overlap with the validation or test split.

    Returns:
      whether an overlap was allowed.
    """
    told = f"what {options.init_from} was trained on, and"
    compare = NOT_DISJOINT not in data.notes
    found = overlaps(earlier.train_footprint, data.subsets["validation"].all_rows, compare)
    leaked = require_disjoint(found, f"{told} validation", options.allow_leak)
    test = [row for folder in data.folders for row in folder.subset("test")]
    found = overlaps(earlier.footprint, test)
    return require_disjoint(found, f"{told} test", options.allow_leak) | leaked


def train_model(
    model: keras.Model,
    recipe: Recipe,
    data: TrainingData,
    train: training.EpochDataset,
    validation_data: training.EpochDataset,
    options: TrainOptions,
    history: checkpoints.History,
    trainable_submodel: keras.Model | None = None,
) -> checkpoints.History:
    """Trains epoch by epoch, starting after `history`, and keeps the run folder up to date.

    Args:
      train, validation_data: the training and the validation split.
      trainable_submodel: the submodel that is fed, see `Trainer`.
    Returns:
      the history, complete.
    """
    weights, _ = class_weights(data, recipe)
    total_steps = train.num_batches * recipe.training.epochs
    trainer = training.Trainer(
        model, recipe, weights, total_steps, options.seed, trainable_submodel
    )
    return training.fit(
        trainer,
        train,
        validation_data,
        options.out / run_folder.LAST,
        options.out / run_folder.BEST,
        history,
        epoch_writer(options.out, history, recipe),
    )


def source_model(run: Path, stream: str) -> keras.Model:
    """The model of a single-stream run, or a fusion's submodel for that stream.

    Raises:
      UserError: no run, or a fusion without that stream.
    """
    earlier = run_folder.read_run(run)
    donor = checkpoints.load_model(run / run_folder.BEST)
    if len(earlier.streams) == 1:
        return donor
    if stream not in earlier.streams:
        raise UserError(
            f"--init-from {run}: it knows {' and '.join(earlier.streams)}, no {stream}; start from"
            f" a run of {stream}"
        )
    return donor.get_layer(stream_layer(stream))


def _member_of(donor: keras.Model, number: int) -> keras.Model:
    """One network of an ensemble; other models unchanged."""
    network = donor.get_layer(NETWORK)
    members = [layer for layer in network.layers if layer.name.startswith(MEMBER_PREFIX)]
    return members[number % len(members)] if members else donor


def recipe_options(run: Path, stream: str) -> str:
    """The recipe and changed settings of an --init-from run, as command-line options."""
    earlier = run_folder.read_run(run)
    part = earlier.stream_info.get(stream)
    if part is None:
        stored = earlier.recipe.as_json()
    else:
        stored = part.get("trained", {"name": part["recipe"]})
    words = [f"--recipe {stored['name']}"]
    for key in ("encoder_settings", "features_settings"):
        words += [f"--set {name}={value}" for name, value in stored.get(key, {}).items()]
    return " ".join(words)


def copy_weights(
    run: Path, model: keras.Model, recipe: Recipe, labels: tuple[str, ...], number: int = 0
) -> None:
    """Starts `model` from the weights of a run; its head stays new if the classes differ.

    Args:
      run: of the same stream, or of a fusion that has it.
      recipe, labels: of `model`.
      number: which network of the run, if it is an ensemble.

    Raises:
      UserError: another stream or encoder.
    """
    earlier = run_folder.read_run(run)
    donor = _member_of(source_model(run, recipe.stream), number)
    # Matched by position: Keras numbers layer names over all models of a process.
    theirs, ours = ([v for v in m.variables if "seed" not in v.path] for m in (donor, model))
    alike = [(a, b) for a, b in zip(theirs, ours, strict=False) if a.shape == b.shape]
    same = len(theirs) == len(ours) and all(a.name == b.name for a, b in alike)
    pairs = [(a, b) for a, b in alike if earlier.labels == labels or HEAD not in b.path.split("/")]
    if not same or len(pairs) < len(ours) // 2:
        name = getattr(earlier.recipe, "encoder", "") or f"{recipe.stream} of {earlier.recipe.name}"
        raise UserError(
            f"--init-from {run}: its model ({name}) has another build; start from a run of the same"
            f" encoder and features, or take its recipe ({recipe_options(run, recipe.stream)})"
        )
    copy_variables(model, pairs)
    progress.print_message(f"started from {run}: {len(pairs)} of {len(ours)} tensors copied")


def copy_variables(
    model: keras.Model, pairs: Iterable[tuple[keras.Variable, keras.Variable]]
) -> None:
    """Assigns the first variable of each pair to the second, which belongs to `model`."""
    for their, our in pairs:
        our.assign(their)
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its variables


def epoch_writer(
    out: Path, history: checkpoints.History, recipe: Recipe
) -> Callable[[dict[str, Any]], None]:
    """Keeps table, curves and TensorBoard log of a run up to date.

    Writes the epochs in `history` at once, because an earlier process may have been killed before
    it wrote them.
    """
    storage_paths.remove_tree(out / run_folder.TENSORBOARD)
    log_folder = storage_paths.local_work_folder(out / run_folder.TENSORBOARD)
    log = tf.summary.create_file_writer(str(log_folder))
    drawn_s = -CURVES_EVERY_S

    def add_to_log(row: dict[str, Any]) -> None:
        with log.as_default(step=row["epoch"]):
            for key in (*training.METRIC_COLUMNS, "learning_rate"):
                tf.summary.scalar(key, row[key])

    def show_log() -> None:
        log.flush()
        if storage_paths.is_remote(out):
            storage_paths.upload(log_folder, out / run_folder.TENSORBOARD)

    if history.rows:
        atomic_io.write_csv(out / run_folder.HISTORY, training.HISTORY_COLUMNS, _marked(history))
        for known in history.rows:
            add_to_log(known)
        show_log()

    def write(row: dict[str, Any]) -> None:
        nonlocal drawn_s
        atomic_io.write_csv(out / run_folder.HISTORY, training.HISTORY_COLUMNS, _marked(history))
        if time.monotonic() - drawn_s >= CURVES_EVERY_S:
            draw_curves(out, history, recipe)
            drawn_s = time.monotonic()
        add_to_log(row)
        show_log()
        progress.print_message(
            f"epoch {row['epoch']}: loss {row['loss']:.3f}, UAR {row['uar']:.3f} | validation loss"
            f" {row['val_loss']:.3f}, UAR {row['val_uar']:.3f}{' *' if row['best'] else ''}"
        )

    return write


def _marked(history: checkpoints.History) -> list[dict[str, Any]]:
    """The rows with one best epoch; an earlier one was best only at its time."""
    best = history.best_epoch
    return [{**row, "best": row["epoch"] == best} for row in history.rows]


def row_without_epochs(
    learnt: tuple[np.ndarray, np.ndarray], watched: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """The only history row of a model that is not trained by epochs.

    Args:
      learnt, watched: (clips, classes) logits and (clips,) truth of training and validation.
    """
    row: dict[str, Any] = {"epoch": 1, "best": True, "learning_rate": 0.0, "seconds": 0.0}
    row["input_wait_share"] = 0.0
    for prefix, (logits, truth) in (("", learnt), ("val_", watched)):
        row[f"{prefix}loss"] = calibration.nll(log_softmax(logits, axis=1), truth)
        score = classification.accuracies(truth, logits.argmax(axis=1))
        row |= {f"{prefix}{name}": value for name, value in score.items()}
    return row


def draw_curves(out: Path, history: checkpoints.History, recipe: Recipe) -> None:
    """Draws loss and accuracy of the epochs so far."""
    plots.curves(_marked(history), out / run_folder.CURVES, f"{recipe.name}, {recipe.labels}")


def finish_run(
    out: Path, info: RunInfo, fitted: Calibration, history: checkpoints.History
) -> RunInfo:
    """Writes the results that are known only at the end."""
    draw_curves(out, history, info.recipe)
    row = next(row for row in history.rows if row["epoch"] == history.best_epoch)
    scores = {key: row[key] for key in training.METRIC_COLUMNS} | {"epoch": row["epoch"]}
    done = dataclasses.replace(info, calibration=fitted, scores=scores, finished=True)
    run_folder.write_run(out, done)
    return done
