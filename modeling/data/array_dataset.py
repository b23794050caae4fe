"""Batches from arrays: outputs of frozen streams for a fusion, or rows of feature tables."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import keyed_rng
from affectstream.modeling.data.no_autotune import without_autotune
from affectstream.modeling.data.subset import Subset, class_indices
from affectstream.modeling.features.front_end import FrontEnd, vector_names
from affectstream.modeling.recipes.recipe import StreamRecipe, TrainingSettings
from affectstream.preprocessing.dataset.feature_table import FeatureTable
from affectstream.preprocessing.labels import LabelSet

Arrays = dict[str, np.ndarray]


class ArrayDataset:
    """Batches of stream outputs for the training loop, epoch by epoch.

    Args:
      arrays: by record, `truth` (records,) int and the inputs of the network; for a fusion
        `STREAM_logits`, `STREAM_embedding`, `STREAM_present`.
      names: the streams of a fusion.
      seed: seed of the run; None reads in order and hides no stream (evaluation).
      modality_dropout: share of the rows of a fusion in which one stream is hidden.
    """

    def __init__(
        self,
        arrays: Arrays,
        names: tuple[str, ...],
        training: TrainingSettings,
        num_classes: int,
        seed: int | None = None,
        modality_dropout: float = 0.0,
    ) -> None:
        self._arrays = arrays
        self._names = names
        self._batch_size = training.batch_size
        self._modality_dropout = modality_dropout
        self._num_classes = num_classes
        self._seed = seed

    @property
    def num_batches(self) -> int:
        return -(-len(self._arrays["truth"]) // self._batch_size)

    def __call__(self, epoch: int = 0) -> tf.data.Dataset:
        arrays = dict(self._arrays)
        order = np.arange(len(arrays["truth"]))
        if self._seed is not None:
            rng = keyed_rng(self._seed, epoch, "", "fusion")
            rng.shuffle(order)
            if self._names:
                arrays |= _hide(arrays, self._names, self._modality_dropout, rng)
        labels = np.eye(self._num_classes, dtype=np.float32)[arrays.pop("truth")]
        inputs = {name: value[order] for name, value in arrays.items()}
        data = tf.data.Dataset.from_tensor_slices((inputs, labels[order], order))
        return without_autotune(data.batch(self._batch_size))


def _hide(arrays: Arrays, names: tuple[str, ...], share: float, rng: np.random.Generator) -> Arrays:
    """Presence flags with one stream hidden in a share of the rows that have several streams."""
    present = np.stack([arrays[f"{name}_present"] for name in names])
    chosen = rng.integers(len(names), size=(present.shape[1],))
    hide = (rng.random(present.shape[1]) < share) & (present.sum(axis=0) > 1)
    present[chosen[hide], np.flatnonzero(hide)] = 0.0
    return {f"{name}_present": present[i] for i, name in enumerate(names)}


def uses_feature_tables(subset: Subset) -> bool:
    """Whether the subset is read from feature tables instead of records."""
    return any(isinstance(folder, FeatureTable) for folder in subset.folders)


def table_dataset(
    subset: Subset,
    labels: LabelSet,
    recipe: StreamRecipe,
    front_end: FrontEnd,
    seed: int | None = None,
) -> ArrayDataset:
    """The rows of feature tables as batches of `features` (rows, dim) float32.

    Args:
      recipe: its features name the table columns.
      front_end: the recipe's; a fitted one for text.
      seed: None reads in order.
    Raises:
      UserError: a table lacks a column, or tables are mixed with records.
    """
    names = vector_names(front_end, recipe.features)
    pieces = []
    for table, rows in zip(subset.folders, subset.rows, strict=True):
        if not isinstance(table, FeatureTable):
            raise UserError(f"{table.path}: records beside feature tables; give one kind")
        require_same_fit(table, front_end)
        place = {row.id: i for i, row in enumerate(table.rows)}
        pieces.append(table.columns(names)[[place[row.id] for row in rows]])
    arrays = {"features": np.concatenate(pieces), "truth": class_indices(subset, labels)}
    return ArrayDataset(arrays, (), recipe.training, len(labels.labels), seed)


def require_same_fit(table: FeatureTable, front_end: FrontEnd) -> None:
    """Refuses a table whose values were computed with a differently fitted front end.

    Raises:
      UserError: a term has another weight, or the table does not record its terms.
    """
    if not hasattr(front_end, "as_fields"):
        return
    fields, theirs = front_end.as_fields(), table.provenance.get("front_end", {})
    same = list(theirs.get("terms", ())) == list(fields["terms"])
    if not same or not np.allclose(theirs["idf"], fields["idf"], rtol=1e-5):
        raise UserError(
            f"{table.path}: fitted on other texts than the model (other terms or weights); score it"
            " on the data folder instead, which needs no table"
        )
