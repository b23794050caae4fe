"""tf.data: records -> ({stream: tensor}, one-hot label, weight), the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import Chain, keyed_rng, parse_transforms
from affectstream.modeling.data.no_autotune import without_autotune
from affectstream.modeling.data.stored_records import (
    RecordSource,
    decoded_bytes,
    face_bytes,
    frame_shape_of,
)
from affectstream.modeling.data.subset import Subset, any_has_stream
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.labels import LabelSet
from affectstream.preprocessing.pcm import INT16_SCALE

# Largest record cache of one training in memory; larger data are read again in each epoch.
RECORD_CACHE_BYTES = 3 * 2**30
# Size of the shuffle buffer in examples; single faces use fewer if these would need more than the
# bytes below.
SHUFFLE_BUFFER_EXAMPLES = 20_000
SHUFFLE_BUFFER_BYTES = 2**30


class RecordDataset:
    """Batches of one subset, epoch by epoch; an epoch depends on (seed, epoch) only.

    Data that are read repeatedly are cached in memory in their stored type (int16, uint8), up to
    `RECORD_CACHE_BYTES`. Larger data are read from the shards in each epoch; shards in an object
    store are fetched once to the temporary folder. The order is the same either way.

    Args:
      subset: the records.
      labels: classes.
      streams: which inputs to yield.
      batch_size: rows per batch.
      seed: seed of the run; None reads in order and without transforms (evaluation).
      transforms: recipe text; applied only with a seed.
      frames_as_examples: each face is one example.
      max_samples: longer audio is cut to this, because the model reads no further.
      frame_times: also yields, beside `video`, `frame_times_s` (B, T) float32 and `num_frames` (B,)
        int32, the stored frames of each record; 0 if it has no face.
      is_repeated: whether several epochs are read; None means if there is a seed.
      used_memory_bytes: memory that other datasets of the same training use already.

    Attributes:
      memory_bytes: memory that this dataset uses once an epoch was read.
    Raises:
      UserError: face crops mixed with action units, or face transforms on action units.
    """

    def __init__(
        self,
        subset: Subset,
        labels: LabelSet,
        streams: Sequence[str],
        batch_size: int,
        seed: int | None = None,
        transforms: str = "",
        frames_as_examples: bool = False,
        max_samples: int | None = None,
        frame_times: bool = False,
        is_repeated: bool | None = None,
        used_memory_bytes: int = 0,
    ) -> None:
        self._part = subset
        self._streams = tuple(streams)
        self._num_classes = len(labels.labels)
        self._batch_size = batch_size
        self._seed = seed
        self._max_samples = max_samples
        self._of_frames = ("frame_times_s", "num_frames") if frame_times else ()
        self._frames = frames_as_examples and "video" in streams
        parsed = parse_transforms(transforms) if seed is not None else ()
        self._chains = {
            stream: Chain(tuple(t for t in parsed if t.stream == stream), seed or 0)
            for stream in streams
        }
        self._mixers = [t for t in parsed if t.stream == "batch"]
        if "video" in streams:
            pairs = zip(subset.folders, subset.rows, strict=True)
            holding = [folder for folder, rows in pairs if any_has_stream(rows, "video")]
            _require_one_kind(holding, bool(self._chains["video"].transforms), transforms)
        faces = sum(row.num_faces for row in subset.all_rows)
        self.num_examples = faces if self._frames else len(subset)
        self._rate_hz = subset.folder_with_stream("audio").sample_rate_hz
        # Audio without transforms is cut before it is cached.
        is_changed = "audio" in streams and bool(self._chains["audio"].transforms)
        kept_samples = None if is_changed else max_samples
        if is_repeated is None:
            is_repeated = seed is not None
        size = decoded_bytes(subset, self._streams, kept_samples)
        fits = is_repeated and used_memory_bytes + size <= RECORD_CACHE_BYTES
        self.memory_bytes = size if fits else 0
        is_reread = is_repeated and not fits
        self._records = RecordSource(subset, labels, self._streams, kept_samples, is_reread)
        # Shuffled by position and read one by one, so that no record waits in memory.
        self._is_drawn = is_reread and seed is not None and not self._frames
        self._source = self._records.in_order(is_cached=fits)
        if self._frames:
            self._source = self._source.flat_map(_single_faces)

    @property
    def num_batches(self) -> int:
        return -(-self.num_examples // self._batch_size)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        """Yields ({name: tensor}, one-hot (B, classes) float32, index (B,) int64) of one epoch.

        `index` numbers the records in the order of `subset.all_rows`.

        Raises:
          UserError: a shard is cut short or damaged.
        """
        num_read = 0
        try:
            for batch in self._dataset(epoch):
                num_read += len(batch[2])
                yield batch
        except tf.errors.OpError:
            self._part.require_intact_shards()
            raise
        if num_read != self.num_examples:
            self._part.require_intact_shards()

    def _dataset(self, epoch: int) -> tf.data.Dataset:
        data = self._source
        if self._is_drawn:
            data = self._records.at(self._shuffled(self._records.positions(), epoch))
        elif self._seed is not None:
            data = self._shuffled(data, epoch)
        data = data.map(_as_float, num_parallel_calls=2, deterministic=True)
        if any(chain.transforms for chain in self._chains.values()):
            data = data.map(self._transformed(epoch), num_parallel_calls=2, deterministic=True)
        data = data.map(self._example, num_parallel_calls=2, deterministic=True)
        data = data.padded_batch(self._batch_size)
        if self._mixers:
            data = data.enumerate().map(self._mixed(epoch))
        return without_autotune(data.prefetch(2))

    def _shuffled(self, data: tf.data.Dataset, epoch: int) -> tf.data.Dataset:
        seed = int(keyed_rng(self._seed or 0, epoch, "", "shuffle").integers(2**31))
        count = min(self.num_examples, SHUFFLE_BUFFER_EXAMPLES)
        if self._frames:  # each face is a tensor of its own; whole records share the cached ones
            count = min(count, max(1, SHUFFLE_BUFFER_BYTES // face_bytes(self._part)))
        return data.shuffle(count, seed, reshuffle_each_iteration=False)

    # === Single examples ===

    def _transformed(self, epoch: int) -> Any:
        rate = self._rate_hz

        def apply(stream: str, signal: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
            chain = self._chains[stream]
            if not chain.transforms:
                return signal
            audio = stream == "audio"

            def in_numpy(values: Any, name: bytes) -> Any:
                key = (epoch, name.decode())
                if stream == "text":
                    return chain(values.decode("utf-8", "replace"), None, key).encode()
                return chain(values, rate if audio else None, key)

            result = tf.numpy_function(in_numpy, [signal, key], signal.dtype, stateful=False)
            return tf.ensure_shape(result, signal.shape)

        def transform(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            key = example["key"]
            changed = {s: apply(s, example[s], key) for s in self._streams if s in self._chains}
            return {**example, **changed}

        return transform

    def _example(self, example: dict[str, tf.Tensor]) -> Any:
        inputs: dict[str, tf.Tensor] = {}
        if "audio" in self._streams:
            audio = example["audio"][: self._max_samples]
            inputs |= {"audio": audio, "audio_length": tf.size(audio)}
        if "video" in self._streams:
            inputs |= {name: example[name] for name in ("video", "video_mask", *self._of_frames)}
        if "text" in self._streams:
            inputs["text"] = example["text"]
        return inputs, tf.one_hot(example["class"], self._num_classes), example["index"]

    # === Batches ===

    def _mixed(self, epoch: int) -> Any:
        names = sorted(n for n in ("audio", "audio_length", "video", "video_mask"))

        def mix(number: tf.Tensor, batch: Any) -> Any:
            inputs, labels, index = batch
            present = [name for name in names if name in inputs]

            def in_numpy(number: np.ndarray, labels: np.ndarray, *values: np.ndarray) -> Any:
                rows = dict(zip(present, values, strict=True))
                for use, mixer in enumerate(self._mixers):
                    rng = keyed_rng(self._seed or 0, epoch, str(int(number)), f"mixup#{use}")
                    parameters = mixer.sample(rng, len(labels))
                    rows, labels = mixer.apply(rows, labels, **parameters)
                return [labels, *(rows[name] for name in present)]

            kinds = [labels.dtype, *(inputs[name].dtype for name in present)]
            values = [inputs[name] for name in present]
            mixed = tf.numpy_function(in_numpy, [number, labels, *values], kinds, stateful=False)
            mixed_inputs = {
                name: tf.ensure_shape(value, inputs[name].shape)
                for name, value in zip(present, mixed[1:], strict=True)
            }
            return mixed_inputs, tf.ensure_shape(mixed[0], labels.shape), index

        return mix


# === Missing streams ===


def missing_stream_input(shape: Sequence[int | None], dtype: Any, num_rows: Any) -> tf.Tensor:
    """Input that marks a stream as missing in every row: one zero sample, frame or token.

    Args:
      shape: of the input with its batch dimension; None is any length.
    """
    inner = [1 if length is None else length for length in tuple(shape)[1:]]
    return tf.zeros(tf.stack([num_rows, *inner]), dtype)


# === Reading ===


def _require_one_kind(folders: Sequence[DataFolder], has_transforms: bool, transforms: str) -> None:
    if not folders:
        return
    first = folders[0]
    for folder in folders:
        if folder.action_units != first.action_units:
            kinds = [
                f"{f.path} holds {'face crops' if u is None else f'action units of {u.source}'}"
                for f in (first, folder)
                for u in (f.action_units,)
            ]
            raise UserError(f"{', '.join(kinds)}; preprocess both alike")
        if frame_shape_of(folder) != frame_shape_of(first):
            shapes = (
                f"{f.path} holds faces of {'x'.join(map(str, frame_shape_of(f)))}"
                for f in (first, folder)
            )
            raise UserError(f"{', '.join(shapes)}; preprocess both alike")
    if first.action_units is not None and has_transforms:
        raise UserError(
            f"transforms={transforms}: these change face crops, {first.path} holds action units;"
            " leave them out (--set transforms=)"
        )


def _as_float(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if "audio" in example:
        example = {**example, "audio": tf.cast(example["audio"], tf.float32) / INT16_SCALE}
    return example


def _single_faces(example: dict[str, tf.Tensor]) -> tf.data.Dataset:
    """Turns every detected face of a clip into a clip of one frame."""
    faces = tf.boolean_mask(example["video"], example["video_mask"])
    count = tf.shape(faces)[0]
    names = tf.strings.as_string(tf.range(count))
    same = {key: tf.repeat(example[key][None], count) for key in ("index", "class")}
    return tf.data.Dataset.from_tensor_slices(
        {
            "video": faces[:, None],
            "video_mask": tf.ones((count, 1), tf.bool),
            "key": tf.strings.join([tf.repeat(example["key"][None], count), names], "#"),
            **same,
        }
    )
