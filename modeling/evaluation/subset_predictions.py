"""Predictions of a run for the records or table rows of a subset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from affectstream.core import progress
from affectstream.modeling.data.array_dataset import table_dataset, uses_feature_tables
from affectstream.modeling.data.record_dataset import RecordDataset, missing_stream_input
from affectstream.modeling.data.subset import Subset
from affectstream.modeling.data.table_inference import (
    front_end_of,
    outputs_from_tables,
    uses_paired_tables,
)
from affectstream.modeling.evaluation.inference import inference_model, window_settings
from affectstream.modeling.evaluation.window_predictions import predict_windows
from affectstream.modeling.layer_names import FUSION, NETWORK, stream_layer
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs import run_folder
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.modeling.training.fit_fusion import fused_logits
from affectstream.modeling.training.trainer import EpochDataset
from affectstream.preprocessing.windowing import WindowSettings

READ_BATCH = 8


def predict_subset(
    model: keras.Model,
    subset: Subset,
    info: RunInfo,
    only_stream: str = "",
    windows: WindowSettings | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the records of a subset as `predict` does from their files.

    Args:
      model, info: from `load_run`.
      only_stream: the only stream given to a fusion; "" gives all.
      windows: replaces the model's own windows. Feature tables hold one row per clip of any length.
    Returns:
      (clips, classes) probabilities and (clips,) truth, in row order of the subset.
    """
    labels = run_folder.label_set_of(info)
    if uses_paired_tables(subset):
        return _predict_paired(model, subset, info, only_stream)
    batches: EpochDataset
    if isinstance(info.recipe, StreamRecipe) and uses_feature_tables(subset):
        windows = None
        front_end = front_end_of(model, info.recipe.features)
        batches = table_dataset(subset, labels, info.recipe, front_end)
        model = model.get_layer(NETWORK)
    else:
        windows = windows or window_settings(info)
        streams = subset.available_streams((only_stream,) if only_stream else info.streams)
        batches = RecordDataset(subset, labels, streams, READ_BATCH, frame_times=True)
    forward = _forward(inference_model(model, info))
    rows, rate_hz = subset.all_rows, info.input.get("sample_rate_hz")
    probabilities = np.zeros((len(subset), len(info.labels)))
    truth = np.zeros(len(subset), np.int64)
    with progress.bar(batches.num_batches, "evaluate", "batch") as bar:
        for inputs, truths, index in batches():
            if windows is None:
                values = forward(inputs)
            else:
                batch_rows = [rows[i] for i in index.numpy()]
                values = predict_windows(inputs, batch_rows, windows, rate_hz, forward)
            probabilities[index.numpy()] = values
            truth[index.numpy()] = np.argmax(truths.numpy(), axis=1)
            bar.update()
    return probabilities, truth


def _forward(model: keras.Model) -> Callable[[dict[str, Any]], np.ndarray]:
    """Function from input rows to (rows, classes) probabilities; one graph for all lengths."""
    specs = {name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in model.input.items()}
    call = tf.function(
        lambda inputs: model(inputs, training=False)["probabilities"], input_signature=[specs]
    )

    def forward(inputs: dict[str, Any]) -> np.ndarray:
        batch = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        return np.asarray(call(fill_missing_streams(batch, model)))

    return forward


def fill_missing_streams(inputs: dict[str, tf.Tensor], model: keras.Model) -> dict[str, tf.Tensor]:
    """Completes a batch with all inputs of the model; streams that were not read become missing."""
    num_rows = len(next(iter(inputs.values())))
    return {
        name: inputs[name]
        if name in inputs
        else missing_stream_input(spec.shape, spec.dtype, num_rows)
        for name, spec in model.input.items()
    }


def _predict_paired(
    model: keras.Model, subset: Subset, info: RunInfo, only_stream: str
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict_subset`, for a fusion on paired feature tables."""
    streams = {stream: model.get_layer(stream_layer(stream)) for stream in info.streams}
    features = {stream: str(info.stream_info[stream]["features"]) for stream in info.streams}
    arrays = outputs_from_tables(streams, features, subset, run_folder.label_set_of(info))
    for stream in info.streams if only_stream else ():
        if stream != only_stream:
            arrays[f"{stream}_present"] = np.zeros_like(arrays[f"{stream}_present"])
    logits = fused_logits(model.get_layer(FUSION), arrays)
    return softmax(logits / info.calibration.temperature, axis=1), arrays["truth"]
