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
# Half precision keeps three digits in half the memory; decibels to a few hundredths.
CACHE_DTYPE = np.float16
CACHE_DTYPE_MAX = float(np.finfo(CACHE_DTYPE).max)
# Larger caches are stored in a temporary file instead of memory.
FEATURE_CACHE_BYTES = 4 * 2**30


class FeatureCache:
    """Batches of cached features, epoch by epoch; an epoch depends on (seed, epoch) only.

    Copy c of a clip equals what `RecordDataset` gives in epoch c. Each epoch draws one of the
    copies of each clip. Mixup, if the recipe has it, blends features instead of waveforms.

    Args:
      subset: the records.
      front: raw inputs -> {"features": ..., and "mask" if the features have one}.
      max_samples: longer audio is cut to this.
      seed: seed of the run; None reads in order and without augmentation (evaluation).
      num_copies: copies of each clip; 1 if `seed` is None.
    Raises:
      UserError: mixup of features that have a mask; on the first read, features too large for half
        precision.
    """

    def __init__(
        self,
        subset: Subset,
        labels: LabelSet,
        recipe: StreamRecipe,
        front: keras.Model,
        max_samples: int | None,
        seed: int | None = None,
        num_copies: int = 1,
    ) -> None:
        self._seed = seed
        self._batch_size = recipe.training.batch_size
        self._truth = np.eye(len(labels.labels), dtype=np.float32)[class_indices(subset, labels)]
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
        # Opened only while it is read, so that its cached records are freed afterwards.
        self._open = functools.partial(
            RecordDataset,
            subset,
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
        """Computed on the first read, so that a refused command does not wait minutes for it."""
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
            batch = {name: kept[taken[rows], rows] for name, kept in self._copies.items()}
            truth = self._truth[rows]
            batch["features"] = batch["features"].astype(np.float32)
            for mixer in self._mixers if self._seed is not None else ():
                drawn = mixer.sample(rng, len(rows))
                batch["features"] = blend_rows(batch["features"], **drawn)
                truth = blend_rows(truth, **drawn)
            yield (
                {name: tf.constant(values) for name, values in batch.items()},
                tf.constant(truth),
                tf.constant(rows),
            )


def _features_of(
    batches: RecordDataset, front: keras.Model, num_clips: int, num_copies: int
) -> dict[str, np.ndarray]:
    """By name (copies, clips, ...), clips in row order of the subset."""
    forward = tf.function(lambda given: front(given, training=False), reduce_retracing=True)
    cached: dict[str, np.ndarray] = {}
    with progress.bar(num_copies * batches.num_batches, "features of copies", "batch") as bar:
        for copy in range(num_copies):
            for inputs, _, index in batches(copy):
                for name, values in forward(inputs).items():
                    features = values.numpy()
                    if name not in cached:
                        kind = CACHE_DTYPE if features.dtype == np.float32 else features.dtype
                        cached[name] = _room_for((num_copies, num_clips, *features.shape[1:]), kind)
                    if cached[name].dtype == CACHE_DTYPE:
                        _require_range(features)
                    cached[name][copy, index.numpy()] = features
                bar.update()
    return cached


def _room_for(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """An array; above `FEATURE_CACHE_BYTES` it lives in a file, whose pages can leave memory."""
    num_bytes = math.prod(shape) * np.dtype(kind).itemsize
    if num_bytes <= FEATURE_CACHE_BYTES:
        return np.empty(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="affectstream-copies-") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk raises here
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
