"""`train --stream fusion`: trained streams -> one model, with or without paired recordings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import progress
from affectstream.core.errors import UserError
from affectstream.modeling.data.array_dataset import Arrays
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.subset import class_indices
from affectstream.modeling.data.table_inference import outputs_from_tables, uses_paired_tables
from affectstream.modeling.data.training_data import TrainingData, class_weights, training_data
from affectstream.modeling.metrics import calibration
from affectstream.modeling.models.fused_model import build_streams_model, fused_model
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import Calibration, RunInfo
from affectstream.modeling.training.auto_fusion import (
    AUTO,
    AUTO_UNPAIRED_FUSION,
    choose_fusion,
    remove_candidates,
)
from affectstream.modeling.training.fit_fusion import (
    StreamOutputs,
    build_fusion,
    fit_fusion,
    fused_logits,
    require_same_epochs,
)
from affectstream.modeling.training.fusion_parts import (
    common_folders,
    merged_input_spec,
    read_stream_runs,
    with_common_label_set,
    with_stream_info,
)
from affectstream.modeling.training.introduction import print_fusion_summary
from affectstream.modeling.training.late_fusion_unpaired import fuse_unpaired
from affectstream.modeling.training.training_steps import (
    TrainOptions,
    finish_run,
    new_run_info,
    set_seed_and_precision,
)
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.dataset.leakage import overlaps, require_disjoint
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT

READ_BATCH = 16


def train_fusion(
    recipe: FusionRecipe,
    runs: dict[str, Path],
    folders: Sequence[DataFolder],
    options: TrainOptions,
) -> RunInfo:
    """Fuses trained streams and writes the run folder of the fused model.

    A trainable fusion learns from the outputs of the frozen streams on their own training split,
    where they are more confident than elsewhere. The streams have not learnt from its validation
    split.

    Args:
      recipe: a fusion recipe; "auto" fits every registered fusion, see `choose_fusion`.
      runs: stream -> its run folder, two at least.
      folders: recordings that have the streams together. If empty, the data that all runs were
        trained on are used; if those differ, the streams are fused without paired data.
      options: `unpaired` fuses the streams without paired data in any case.
    Raises:
      UserError: unfinished or incompatible runs, a leak, shared training data that are no longer
        found, or a fusion that needs paired recordings.
    """
    infos = read_stream_runs(runs)
    recipe = with_common_label_set(recipe, infos)
    if not options.unpaired:
        folders = folders or common_folders(infos)
    set_seed_and_precision(options.seed)
    models = {s: checkpoints.load_model(path / run_folder.BEST) for s, path in runs.items()}
    if folders:
        return _fuse_paired(recipe, infos, models, folders, options)
    if recipe.fusion == AUTO:
        progress.print_message(
            f"no paired data to choose a fusion on: {AUTO} is {AUTO_UNPAIRED_FUSION} here"
        )
        recipe = dataclasses.replace(recipe, fusion=AUTO_UNPAIRED_FUSION)
    return fuse_unpaired(recipe, infos, models, options)


def _fuse_paired(
    recipe: FusionRecipe,
    infos: dict[str, RunInfo],
    models: dict[str, keras.Model],
    folders: Sequence[DataFolder],
    options: TrainOptions,
) -> RunInfo:
    data = training_data(folders, recipe.labels, tuple(infos), options.allow_leak)
    leaked = _check_streams_against(data, infos, options.allow_leak)
    info = new_run_info(recipe, data, options, tuple(infos), merged_input_spec(infos))
    info = with_stream_info(info, infos, leaked)
    _require_pairs(data, tuple(infos))
    dims = {s: int(model.output["embedding"].shape[-1]) for s, model in models.items()}
    fusion = None
    if recipe.fusion != AUTO:  # fails before anything is written if its settings do not fit
        fusion = build_fusion(recipe, len(data.labels.labels), dims)
    has_epochs = fusion is not None and bool(fusion.trainable_variables)
    if options.resume and not has_epochs:
        require_same_epochs(options.out, recipe)
    go_on = run_folder.prepare_run_folder(options.out, info, options.resume, options.overwrite)
    if go_on and run_folder.read_run(options.out).finished:
        remove_candidates(options.out)  # the run was killed before it removed them
        return run_folder.read_run(options.out)
    run_folder.write_split(options.out, data.folders)
    if options.prints_summary:
        print_fusion_summary(recipe, data, models, fusion, options)
    train, validation_data = (
        _split_outputs(models, infos, data, s) for s in ("train", "validation")
    )
    speakers = data.subsets["validation"].speakers
    outputs = StreamOutputs(tuple(infos), train, validation_data, speakers)
    if fusion is None:
        choice = choose_fusion(recipe, data, outputs, options)
        fusion, history = choice.fusion, choice.history
        info = dataclasses.replace(info, notes=(*info.notes, choice.note))
    else:
        fusion, history = fit_fusion(recipe, fusion, data, outputs, options)
    temperature = calibration.fit_temperature(
        fused_logits(fusion, validation_data), validation_data["truth"], speakers
    )
    whole = fused_model(models, fusion)
    checkpoints.save_model(whole, options.out / run_folder.BEST)
    if not has_epochs:  # otherwise training has left a checkpoint to continue from
        checkpoints.save_model(whole, options.out / run_folder.LAST, dataclasses.asdict(history))
    _, log_prior = class_weights(data, recipe)
    done = finish_run(options.out, info, Calibration(temperature, log_prior), history)
    remove_candidates(options.out)
    return done


def _check_streams_against(data: TrainingData, infos: dict[str, RunInfo], allow_leak: bool) -> bool:
    """Refuses streams that learnt from the fusion's validation or test split."""
    leaked = False
    compare = NOT_DISJOINT not in data.notes
    test = [row for folder in data.folders for row in folder.subset("test")]
    for stream, info in infos.items():
        found = overlaps(info.train_footprint, data.subsets["validation"].all_rows, compare)
        leaked |= require_disjoint(found, f"training of {stream}, validation here", allow_leak)
        found = overlaps(info.footprint, test)
        leaked |= require_disjoint(found, f"training of {stream}, test here", allow_leak)
    return leaked


def _split_outputs(
    models: dict[str, keras.Model], infos: dict[str, RunInfo], data: TrainingData, split: str
) -> Arrays:
    """Outputs of the frozen streams on a split, and `truth` (clips,) int, in row order."""
    subset = data.subsets[split]
    if uses_paired_tables(subset):
        features = {stream: info.recipe.features for stream, info in infos.items()}
        return outputs_from_tables(models, features, subset, data.labels)
    streams = build_streams_model(models)
    batches = RecordDataset(subset, data.labels, tuple(models), READ_BATCH)
    forward = tf.function(lambda inputs: streams(inputs, training=False), reduce_retracing=True)
    by_name: dict[str, list[np.ndarray]] = {}
    with progress.bar(batches.num_batches, f"streams over {split}", "batch") as bar:
        for inputs, _, index in batches():
            outputs = {name: value.numpy() for name, value in forward(inputs).items()}
            for name, value in {**outputs, "index": index.numpy()}.items():
                by_name.setdefault(name, []).append(value)
            bar.update()
    arrays = {name: np.concatenate(values) for name, values in by_name.items()}
    order = np.argsort(arrays.pop("index"))
    by_row = {name: value[order] for name, value in arrays.items()}
    return by_row | {"truth": class_indices(subset, data.labels)}


def _require_pairs(data: TrainingData, names: tuple[str, ...]) -> None:
    if not any(set(names) <= set(row.streams) for row in data.subsets["validation"].all_rows):
        raise UserError(
            f"no validation recording has {' and '.join(names)} together; name --data that has,"
            " or leave --data out to fuse without paired data"
        )
