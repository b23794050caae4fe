"""Computes features of augmented copies once, so that training reads cached features."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import progress
from affectstream.core.errors import UserError, from_os_error
from affectstream.data_augmentation.chain import keyed_rng, parse_transforms, recipe_text_of_stream
from affectstream.data_augmentation.mixup import Mixup, blend_rows
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.data.subset import Subset, class_indices
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.preprocessing.labels import LabelSet

READ_BATCH = 32
# Three digits in half the memory; decibels to a few hundredths.
CACHE_DTYPE = np.float16
CACHE_DTYPE_MAX = float(np.finfo(CACHE_DTYPE).max)
# Above this they are kept in a temporary file rather than in memory.
FEATURE_CACHE_BYTES = 4 * 2**30


class FeatureCache:
    """Batches of features, epoch by epoch; what an epoch gives depends on (seed, epoch) only.

    Copy c of a clip is what `RecordDataset` would give in epoch c. In each epoch chance takes one
    of the
    copies of each clip; mixup, where the recipe has it, blends features rather than waveforms.

    Args:
      part: the records.
      front: raw inputs -> {"features": ..., and "mask" where there is one}.
      max_samples: longer sound is cut to this.
      seed: of the run; None reads in order and plain (evaluation).
      num_copies: of each clip; with `seed` None there is one.
    Raises:
      UserError: mixup of features that have a mask; when first read, features too large to be
        kept in half precision.
    """

    def __init__(
        self,
        part: Subset,
        labels: LabelSet,
        recipe: StreamRecipe,
        front: keras.Model,
        max_samples: int | None,
        seed: int | None = None,
        num_copies: int = 1,
    ) -> None:
        self._seed = seed
        self._batch_size = recipe.training.batch_size
        self._truth = np.eye(len(labels.labels), dtype=np.float32)[class_indices(part, labels)]
        transforms = recipe_text_of_stream(recipe.transforms, "audio")
        self._mixers = [t for t in parse_transforms(recipe.transforms) if isinstance(t, Mixup)]
        if "mask" in front.output and self._mixers:
            raise UserError(
                f"transforms={recipe.transforms}: mixup of kept copies needs features without a"
                f" mask, {recipe.features!r} have one; leave it out, or --set"
                " cached_augmentations=0"
            )
        self._front = front
        self._num_copies = num_copies if seed is not None else 1
        # Made where they are read, so that what they keep in memory goes with them.
        self._open = functools.partial(
            RecordDataset,
            part,
            labels,
            (recipe.stream,),
            READ_BATCH,
            seed,
            transforms,
            max_samples=max_samples,
            is_repeated=self._num_copies > 1,
        )

    @functools.cached_property
    def _copies(self) -> dict[str, np.ndarray]:
        """Made when first read: minutes, which a refused command should not take."""
        return _features_of(self._open(), self._front, len(self._truth), self._num_copies)

    @property
    def num_batches(self) -> int:
        return -(-len(self._truth) // self._batch_size)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        """Yields ({"features": ...}, labels (B, classes) float32, index (B,) int64)."""
        count = len(self._truth)
        order, taken = np.arange(count), np.zeros(count, int)
        if self._seed is not None:
            rng = keyed_rng(self._seed, epoch, "", "copies")
            rng.shuffle(order)
            taken = rng.integers(len(next(iter(self._copies.values()))), size=count)
        for start in range(0, count, self._batch_size):
            rows = order[start : start + self._batch_size]
            given = {name: kept[taken[rows], rows] for name, kept in self._copies.items()}
            truth = self._truth[rows]
            given["features"] = given["features"].astype(np.float32)
            for mixer in self._mixers if self._seed is not None else ():
                drawn = mixer.sample(rng, len(rows))
                given["features"] = blend_rows(given["features"], **drawn)
                truth = blend_rows(truth, **drawn)
            yield (
                {name: tf.constant(values) for name, values in given.items()},
                tf.constant(truth),
                tf.constant(rows),
            )


def _features_of(
    batches: RecordDataset, front: keras.Model, num_clips: int, num_copies: int
) -> dict[str, np.ndarray]:
    """By name (copies, clips, ...), the clips in the order of the part."""
    forward = tf.function(lambda given: front(given, training=False), reduce_retracing=True)
    kept: dict[str, np.ndarray] = {}
    with progress.bar(num_copies * batches.num_batches, "features of copies", "batch") as bar:
        for copy in range(num_copies):
            for inputs, _, index in batches(copy):
                for name, values in forward(inputs).items():
                    made = values.numpy()
                    if name not in kept:
                        kind = CACHE_DTYPE if made.dtype == np.float32 else made.dtype
                        kept[name] = _room_for((num_copies, num_clips, *made.shape[1:]), kind)
                    if kept[name].dtype == CACHE_DTYPE:
                        _require_range(made)
                    kept[name][copy, index.numpy()] = made
                bar.update()
    return kept


def _room_for(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """An array; of a size above `FEATURE_CACHE_BYTES` in a file, whose pages may leave memory."""
    num_bytes = math.prod(shape) * np.dtype(kind).itemsize
    if num_bytes <= FEATURE_CACHE_BYTES:
        return np.empty(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="affectstream-copies-") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk is told now, by an error
            return np.memmap(file, kind, "w+", shape=shape)
    except OSError as error:
        raise from_os_error(error, Path(tempfile.gettempdir())) from error


def _require_range(features: np.ndarray) -> None:
    largest = float(np.abs(features).max())
    if largest > CACHE_DTYPE_MAX:
        raise UserError(
            f"features up to {largest:g}: too large to be kept in half precision (to"
            f" {CACHE_DTYPE_MAX:g}); augment anew each epoch (--set cached_augmentations=0)"
        )
