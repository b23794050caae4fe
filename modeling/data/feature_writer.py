"""`features`: records -> a table of numbers, or spectrogram images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from affectstream.core import atomic_io, progress, registry
from affectstream.core.errors import UserError
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.subset import Subset
from affectstream.modeling.features.front_end import (
    AudioFrontEnd,
    max_samples_of_front_end,
    vector_names,
)
from affectstream.modeling.input_spec import InputSpec
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.dataset.feature_table import (
    METADATA_COLUMNS,
    FeatureOrigin,
    metadata_cells,
    write_feature_table,
)
from affectstream.preprocessing.dataset.text_informativeness import measure_rows
from affectstream.preprocessing.labels import CANONICAL_LABELS, LabelSet

READ_BATCH = 16
PICTURES = "pictures.csv"
PICTURE_COLUMNS = ("picture", *METADATA_COLUMNS)


def write_features(folder: DataFolder, features: str, out: Path) -> int:
    """Writes the table of a front end with one vector per clip; returns the number of rows.

    Clips without the stream or without a split are excluded. A text front end is fitted on the
    training split.

    Raises:
      UserError: no record has the stream, records of another sample rate, or an unwritable `out`.
    """
    front_end = registry.load("features", features)
    fitted, words = None, ""
    if front_end.stream == "text":
        train = [row for row in folder.subset("train") if row.transcript.strip()]
        front_end = front_end.fitted([row.transcript for row in train], "none")
        informativeness = measure_rows(train)
        words = "" if informativeness.is_informative else informativeness.explain()
        fitted = front_end.as_fields() if hasattr(front_end, "as_fields") else None
    names = vector_names(front_end, features)
    rows = list(_computed(folder, front_end, f"features {features}"))
    write_feature_table(out, names, rows, folder, FeatureOrigin(features, fitted, words))
    return len(rows)


def write_spectrograms(folder: DataFolder, features: str, out: Path) -> int:
    """Writes each clip's spectrogram as `LABEL/RECORDING.png`, low frequencies at the bottom.

    Args:
      features: a front end with image output, (bands, frames, 1).
      out: folder; its `pictures.csv` maps each image to its clip.
    Raises:
      UserError: other features, or an unwritable folder.
    """
    front_end: AudioFrontEnd = registry.load("features", features)
    written: list[tuple[ClipRow, str]] = []
    for row, values in _computed(folder, front_end, f"pictures {features}"):
        if values.ndim != 3 or values.shape[-1] != 1:
            raise UserError(f"features {features!r} are no pictures; see `list features`")
        name = row.id.replace("/", "_").replace("#", "_")
        picture = out / row.label / f"{name}.png"
        _write_png(picture, values[:, :, 0])
        written.append((row, str(picture.relative_to(out))))
    facts = metadata_cells([row for row, _ in written], folder)
    table = (
        dict(zip(PICTURE_COLUMNS, (name, *known), strict=True))
        for (_, name), known in zip(written, facts, strict=True)
    )
    atomic_io.write_csv(out / PICTURES, PICTURE_COLUMNS, table)
    return len(written)


def _write_png(path: Path, values: np.ndarray) -> None:
    """Scales (bands, frames) to the grey levels; the lowest value is black."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-6))
    done, data = cv2.imencode(".png", np.rint(scaled[::-1]).astype(np.uint8))
    if not done:
        raise UserError(f"{path}: picture cannot be encoded")
    with atomic_io.atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _computed(
    folder: DataFolder, front_end: Any, what: str
) -> Iterator[tuple[ClipRow, np.ndarray]]:
    """Every usable clip with the stream, and its features."""
    stream = front_end.stream
    in_a_split = {id for ids in folder.splits.parts.values() for id in ids}
    rows = tuple(
        row
        for row in folder.rows
        if stream in row.streams and not row.excluded and (row.id in in_a_split or not in_a_split)
    )
    if not rows:
        raise UserError(f"{folder.path}: no record with {stream}; `describe` says what it holds")
    spec = InputSpec.of(folder, stream)
    raw = spec.inputs(stream)
    model = keras.Model(raw, front_end.connect(raw, spec).values)
    part = Subset((folder,), (rows,))
    # Every canonical label is a class here, so that no clip is excluded.
    batches = RecordDataset(
        part,
        LabelSet(CANONICAL_LABELS),
        (stream,),
        READ_BATCH,
        max_samples=max_samples_of_front_end(front_end) if stream == "audio" else None,
    )
    forward = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    with progress.bar(len(rows), what, "clip") as bar:
        for inputs, _, index in batches():
            features = forward(inputs).numpy()
            bar.update(len(features))
            yield from (
                (rows[i], values) for i, values in zip(index.numpy(), features, strict=True)
            )
