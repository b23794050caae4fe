"""Checkpoints: a model as a `.keras` file with a checksum, and its training state."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from affectstream.core import atomic_io, lfs_pointer, storage_paths, tf_setup
from affectstream.core.errors import UserError, from_os_error
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.models.custom_objects import register_custom_objects
from affectstream.modeling.runs import checksummed_zip

STATE_MEMBER = "affectstream/training.json"


@dataclass
class History:
    """Epochs done so far, stored within `last.keras` so that the two cannot disagree.

    Attributes:
      rows: one dict of `training.HISTORY_COLUMNS` per epoch.
      keep_epoch: "best" or "last", see `TrainingSettings`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    keep_epoch: str = "best"

    @property
    def best_epoch(self) -> int | None:
        """The epoch (from 1) with the highest validation UAR; a tie goes to the lower loss.

        It is the last epoch if the recipe keeps the last one.
        """
        if not self.rows:
            return None
        if self.keep_epoch == "last":
            return len(self.rows)
        return int(max(self.rows, key=_quality)["epoch"])

    @property
    def epochs_since_best(self) -> int:
        return len(self.rows) - (self.best_epoch or 0)


def _quality(row: dict[str, Any]) -> tuple[float, float]:
    return (row["val_uar"], -row["val_loss"])


# === Files ===


def save_model(model: keras.Model, path: Path, state: dict[str, Any] | None = None) -> None:
    """Writes a `.keras` file atomically, with a checksum (`checksummed_zip`).

    Args:
      state: training state, stored in the file beside the optimizer's state; None omits both, for
        a model that is not trained further.
    """
    if state is None:
        model = keras.Model(model.input, model.output, name=model.name)  # without optimizer
    with atomic_io.atomic_write(path) as temporary:
        model.save(temporary)
        if state is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(STATE_MEMBER, json.dumps(state))
        checksummed_zip.add_checksum(temporary)


def load_checkpoint(path: Path) -> tuple[keras.Model, History]:
    """Model, optimizer and history as stored by `save_model`.

    Raises:
      UserError: absent or damaged.
    """
    remedy = "begin the training anew with --overwrite"
    with _whole(path, remedy) as file:
        model = _loaded(path, file, remedy)
        with zipfile.ZipFile(file) as archive:
            return model, History(**json.loads(archive.read(STATE_MEMBER)))


def load_model(path: Path, remedy: str = "train it again") -> keras.Model:
    """Reads a `.keras` file, in Keras's safe mode.

    Args:
      remedy: advice for a damaged file.
    Raises:
      UserError: absent or damaged.
    """
    with _whole(path, remedy) as file:
        return _loaded(path, file, remedy)


def _loaded(path: Path, file: Path, remedy: str) -> keras.Model:
    """Loads the model from `file`, which is `path` or a local copy of it."""
    register_custom_objects()
    try:
        return _with_usable_precision(keras.saving.load_model(file))
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: model cannot be read ({first}); {remedy}") from error


def _with_usable_precision(model: keras.Model) -> keras.Model:
    """Loads a float16 model as float32 if the CPU does not support float16."""
    if tf_setup.cpu_aborts_in_float16() and not tf.config.list_physical_devices("GPU"):
        for layer in all_layers(model):
            if layer.compute_dtype == "float16":
                layer.dtype_policy = keras.DTypePolicy("float32")
    return model


@contextlib.contextmanager
def _whole(path: Path, remedy: str) -> Iterator[Path]:
    """Yields a local path of a `.keras` file, fetched once and checked.

    Raises:
      UserError: absent or damaged; the message contains `remedy`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such model; train it first")
    lfs_pointer.require_not_pointer(path)
    try:
        with storage_paths.local_copy(path) as file:
            if why := checksummed_zip.damage_reason(file):
                raise UserError(f"{path}: model cannot be read ({why}); {remedy}")
            yield file
    except OSError as error:
        raise from_os_error(error, path) from error
