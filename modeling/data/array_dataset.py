"""Arrays as batches: outputs of frozen streams for a fusion, or the rows of feature tables."""

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
    """Batches of stream outputs, epoch by epoch, as the training loop reads them.

    Args:
      arrays: by record, `truth` (records,) int and what the network is fed; for a fusion
        `STREAM_logits`, `STREAM_embedding`, `STREAM_present`.
      names: the streams of a fusion.
      seed: of the run; None reads in order and hides nothing (evaluation).
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
    """Presence flags with one stream hidden in a share of the rows that have several."""
    present = np.stack([arrays[f"{name}_present"] for name in names])
    chosen = rng.integers(len(names), size=(present.shape[1],))
    hide = (rng.random(present.shape[1]) < share) & (present.sum(axis=0) > 1)
    present[chosen[hide], np.flatnonzero(hide)] = 0.0
    return {f"{name}_present": present[i] for i, name in enumerate(names)}


def uses_feature_tables(part: Subset) -> bool:
    """Whether the part is read from feature tables rather than from records."""
    return any(isinstance(folder, FeatureTable) for folder in part.folders)


def table_dataset(
    part: Subset,
    labels: LabelSet,
    recipe: StreamRecipe,
    front_end: FrontEnd,
    seed: int | None = None,
) -> ArrayDataset:
    """The rows of feature tables as batches of `features` (rows, dim) float32.

    Args:
      recipe: its features name the columns.
      front_end: the recipe's; of words one that is fitted.
      seed: None reads in order.
    Raises:
      UserError: a table lacks a column, or stands beside records.
    """
    names = vector_names(front_end, recipe.features)
    pieces = []
    for table, rows in zip(part.folders, part.rows, strict=True):
        if not isinstance(table, FeatureTable):
            raise UserError(f"{table.path}: records beside feature tables; give one kind")
        require_same_fit(table, front_end)
        place = {row.id: i for i, row in enumerate(table.rows)}
        pieces.append(table.columns(names)[[place[row.id] for row in rows]])
    arrays = {"features": np.concatenate(pieces), "truth": class_indices(part, labels)}
    return ArrayDataset(arrays, (), recipe.training, len(labels.labels), seed)


def require_same_fit(table: FeatureTable, front_end: FrontEnd) -> None:
    """Stops where the numbers of a table were made with another fit than the model's.

    Raises:
      UserError: a term has another weight, or it is not known what the columns stand for.
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
