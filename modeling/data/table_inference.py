"""Runs trained stream networks on the rows of paired feature tables, without recordings."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.data.array_dataset import Arrays, require_same_fit
from affectstream.modeling.data.subset import Subset, class_indices
from affectstream.modeling.features.front_end import FrontEnd, vector_names
from affectstream.modeling.layer_names import NETWORK, SPEED_TTA
from affectstream.modeling.models.speed_tta import TTA_NEEDS_AUDIO
from affectstream.preprocessing.dataset.paired_tables import PairedTables
from affectstream.preprocessing.labels import LabelSet

ROWS_PER_STEP = 256


def uses_paired_tables(subset: Subset) -> bool:
    """Whether the subset is read from paired feature tables."""
    return any(isinstance(folder, PairedTables) for folder in subset.folders)


def outputs_from_tables(
    streams: Mapping[str, keras.Model],
    features: Mapping[str, str],
    subset: Subset,
    labels: LabelSet,
) -> Arrays:
    """Outputs of frozen streams on the rows of a subset.

    Args:
      streams: stream -> its whole model; only its network runs.
      features: stream -> name of its front end.
    Returns:
      `STREAM_logits`, `STREAM_embedding`, `STREAM_present` float32 and `truth` int, by row.
    Raises:
      UserError: a table lacks a column, or tables are mixed with records.
    """
    values_by_name: dict[str, list[np.ndarray]] = {}
    for stream, model in streams.items():
        front_end = front_end_of(model, features[stream])
        names = vector_names(front_end, features[stream])
        network = model.get_layer(NETWORK)
        for folder, rows in zip(subset.folders, subset.rows, strict=True):
            if not isinstance(folder, PairedTables):
                raise UserError(f"{folder.path}: records beside feature tables; give one kind")
            require_same_fit(folder.tables[stream], front_end)
            values, is_present = folder.values(stream, rows, names)
            answer = network.predict({"features": values}, ROWS_PER_STEP, verbose=0)
            for kind in ("logits", "embedding"):
                values_by_name.setdefault(f"{stream}_{kind}", []).append(answer[kind])
            values_by_name.setdefault(f"{stream}_present", []).append(is_present.astype(np.float32))
    arrays = {name: np.concatenate(parts) for name, parts in values_by_name.items()}
    return arrays | {"truth": class_indices(subset, labels)}


def front_end_of(model: keras.Model, features: str) -> FrontEnd:
    """Front end of a trained single-stream model, for features read from tables.

    Raises:
      UserError: the model uses test-time augmentation by speed; tables hold one speed only.
    """
    if any(layer.name == SPEED_TTA for layer in model.layers):
        raise UserError(f"{features}: {TTA_NEEDS_AUDIO}")
    front_end = registry.load("features", features)
    return front_end.from_model(model) if front_end.stream == "text" else front_end
