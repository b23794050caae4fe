"""The records of a subset as tf.data: in shard order, or one by one by position."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.core import storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.data.subset import Subset, any_has_stream
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.labels import LabelSet
from affectstream.preprocessing.records import tfrecord
from affectstream.preprocessing.records.record import (
    SCHEMA,
    damaged_shard,
    iter_examples,
    parse_example,
)

READ_BLOCK_BYTES = 2**20
# Bytes of an example beside audio, faces and text: its name, numbers and tensor headers.
_OVERHEAD_BYTES = 512


# === Sizes ===


def frame_shape_of(folder: DataFolder) -> tuple[int, ...]:
    """Shape of one frame in a folder's records: (height, width, channels), or (action units,)."""
    units = folder.action_units
    return folder.crop_format.shape if units is None else (len(units.names),)


def decoded_bytes(subset: Subset, streams: Sequence[str], max_samples: int | None = None) -> int:
    """Memory that the decoded records of a subset need: int16 audio and uint8 faces.

    Args:
      streams: streams that are read; others need no memory.
      max_samples: longer audio is cut to this.
    """
    total = 0
    for folder, rows in zip(subset.folders, subset.rows, strict=True):
        has_faces = any_has_stream(rows, "video")
        frame = 0
        if "video" in streams and rows:
            frame = _frame_bytes(folder if has_faces else subset.folder_with_stream("video"))
        for row in rows:
            total += _OVERHEAD_BYTES
            if "audio" in streams:
                total += 2 * min(row.num_samples, max_samples or row.num_samples)
            if "video" in streams:
                total += (max(1, row.num_frames) if has_faces else 1) * frame
            if "text" in streams:
                total += len(row.transcript.encode())
    return total


def face_bytes(subset: Subset) -> int:
    """Memory for one face of a subset, with its metadata."""
    return _frame_bytes(subset.folder_with_stream("video")) + _OVERHEAD_BYTES


def _frame_bytes(folder: DataFolder) -> int:
    value_bytes = 1 if folder.action_units is None else 4
    return math.prod(frame_shape_of(folder)) * value_bytes


# === Records ===


class RecordSource:
    """Parsed and numbered records of a subset.

    Each record is a dict of the requested streams (`audio` int16, `text`, `video` with
    `video_mask`, `frame_times_s` and `num_frames`), `index` () int64 in the order of
    `subset.all_rows`, `class` () int64, and `key` () string, unique among all folders.

    Args:
      max_samples: longer audio is cut to this.
      is_reread: several epochs read the shards; those in an object store are fetched once.
    Raises:
      UserError: no record, or a shard is absent.
    """

    def __init__(
        self,
        subset: Subset,
        labels: LabelSet,
        streams: Sequence[str],
        max_samples: int | None = None,
        is_reread: bool = False,
    ) -> None:
        if not len(subset):
            raise UserError(
                "no record to read; check --labels, --split and the streams of the data"
            )
        self._part = subset
        self._streams = tuple(streams)
        self._max_samples = max_samples
        self._is_read_again = is_reread
        keys = [f"{number}/{row.id}" for number, rows in enumerate(subset.rows) for row in rows]
        self._index = _table(keys, list(range(len(keys))))
        self._classes = _table(keys, [labels.index(row.label) for row in subset.all_rows])
        self._shards = [
            (number, path)
            for number, (folder, rows) in enumerate(zip(subset.folders, subset.rows, strict=True))
            for path in folder.shard_paths(rows)
        ]
        if missing := [path for _, path in self._shards if not path.is_file()]:
            raise damaged_shard(missing[0])

    def in_order(self, is_cached: bool = False) -> tf.data.Dataset:
        """All records, folder by folder in the order of its shards.

        Args:
          is_cached: cache the records in memory during the first complete pass.
        """
        sources = [
            self._serialized([path for of, path in self._shards if of == number]).map(
                functools.partial(self._parsed, number),
                num_parallel_calls=2,
                deterministic=True,
            )
            for number in dict.fromkeys(number for number, _ in self._shards)
        ]
        data = sources[0]
        for further in sources[1:]:
            data = data.concatenate(further)
        data = data.filter(lambda example: example["index"] >= 0)
        return data.cache() if is_cached else data

    def positions(self) -> tf.data.Dataset:
        """One number per record, in the order of `in_order`, from 0."""
        return tf.data.Dataset.range(len(self._places))

    def at(self, positions: tf.data.Dataset) -> tf.data.Dataset:
        """The records at some `positions`; each is read only when it is needed."""

        def read(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            results = tf.numpy_function(
                self._read, [position], [tf.int32, tf.string], stateful=False
            )
            return tf.ensure_shape(results[0], []), tf.ensure_shape(results[1], [])

        numbers = list(dict.fromkeys(number for number, _ in self._shards))

        def parse(which: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            ways = [functools.partial(self._parsed, number, serialized) for number in numbers]
            if len(ways) == 1:
                return ways[0]()
            example: dict[str, tf.Tensor] = tf.switch_case(
                tf.argmax(tf.equal(numbers, which), output_type=tf.int32), ways
            )
            return example

        stored = positions.map(read, num_parallel_calls=2, deterministic=True)
        return stored.map(parse, num_parallel_calls=2, deterministic=True)

    def _read(self, position: np.int64) -> tuple[np.int32, bytes]:
        shard, offset = self._places[int(position)]
        number, path = self._shards[shard]
        with self._local(path).open("rb") as file:
            file.seek(offset)
            return np.int32(number), next(tfrecord.iter_records(file))

    @functools.cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Shard and byte offset of each record of the subset, in the order of `in_order`."""
        wanted = [{row.id for row in rows} for rows in self._part.rows]
        places = []
        for shard, (number, path) in enumerate(self._shards):
            offset = 0
            for stored in iter_examples(self._local(path)):
                if tfrecord.read_text_feature(stored, "id") in wanted[number]:
                    places.append((shard, offset))
                offset += tfrecord.framed_size(stored)
        return places

    def _local(self, path: Path) -> Path:
        return self._fetched(path) if self._is_read_again else path

    @functools.cached_property
    def _fetched(self) -> Any:
        return functools.cache(storage_paths.fetch_to_local)

    def _serialized(self, paths: Sequence[Path]) -> tf.data.Dataset:
        """Serialized records of shards; TensorFlow itself reads only from local disks."""
        if not any(map(storage_paths.is_remote, paths)):
            files = [str(path) for path in paths]
            return tf.data.TFRecordDataset(files, buffer_size=READ_BLOCK_BYTES)

        def all_stored() -> Iterator[bytes]:
            for path in paths:
                yield from iter_examples(self._local(path))

        return tf.data.Dataset.from_generator(
            all_stored, output_signature=tf.TensorSpec([], tf.string)
        )

    def _parsed(self, number: int, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parses a record of one folder; a folder without faces gets a blank frame."""
        folder = self._part.folders[number]
        record = parse_example(serialized, folder.action_units is not None)
        wanted = {stream: record[stream] for stream in self._streams}
        if "audio" in self._streams:
            wanted["audio"] = record["audio"][: self._max_samples]
        if "video" in self._streams and any_has_stream(self._part.rows[number], "video"):
            wanted |= _with_a_frame(record, frame_shape_of(folder))
        elif "video" in self._streams:
            wanted |= _blank_frame(self._part.folder_with_stream("video"))
        key = tf.strings.join([str(number), record["id"]], "/")
        numbers = {"index": self._index.lookup(key), "class": self._classes.lookup(key)}
        schema_is_ours = tf.debugging.Assert(record["schema"] == SCHEMA, [record["schema"]])
        with tf.control_dependencies([schema_is_ours]):
            return {**wanted, **numbers, "key": key}


def _blank_frame(faces: DataFolder) -> dict[str, tf.Tensor]:
    """Replaces the faces of a folder that has none; the shape comes from another folder."""
    kind = tf.uint8 if faces.action_units is None else tf.float32
    return {
        "video": tf.zeros((1, *frame_shape_of(faces)), kind),
        "video_mask": tf.zeros(1, tf.bool),
        "frame_times_s": tf.zeros(1),
        "num_frames": tf.constant(0),
    }


def _with_a_frame(
    record: dict[str, tf.Tensor], frame_shape: tuple[int, ...]
) -> dict[str, tf.Tensor]:
    """Adds one blank, masked frame to a record without faces, so that every batch has a shape."""
    num_frames = tf.size(record["video_mask"])
    num_blank = tf.cast(tf.equal(num_frames, 0), tf.int32)
    video = tf.reshape(record["video"], (-1, *frame_shape))
    padded = {"video": tf.pad(video, [[0, num_blank], *([0, 0] for _ in frame_shape)])}
    for name in ("video_mask", "frame_times_s"):
        padded[name] = tf.pad(record[name], [[0, num_blank]])
    return padded | {"num_frames": num_frames}


def _table(keys: list[str], values: list[Any]) -> tf.lookup.StaticHashTable:
    contents = tf.lookup.KeyValueTensorInitializer(keys, tf.constant(values, tf.int64))
    return tf.lookup.StaticHashTable(contents, default_value=-1)
