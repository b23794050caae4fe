"""Records: one clip, or one segment of a long one, as a TFRecord example.

Schema 1, all keys always present:

| key | kind | holds |
|---|---|---|
| schema | int | 1 |
| id, label, speaker, recording, transcript, detector, audio_hash, video_hash | bytes | text |
| audio | bytes | PCM, int16 little-endian, mono; empty when the stream is missing |
| sample_rate_hz | int | of `audio` |
| video | bytes | face crops, uint8, row by row, or action units, float32; zeros without a face |
| video_shape | 4 or 2 ints | frames, height, width, channels, or frames, units; all 0: missing |
| video_mask | ints | 1 where a face was found |
| frame_times_s | floats | when each frame came on show, from the start of the file |
| boxes_px | floats | x, y, width, height of the face in the full picture, frame by frame |
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import storage_paths, tf_setup
from affectstream.core.errors import UserError
from affectstream.preprocessing.dataset.data_folder import ClipRow, RecordMetadata
from affectstream.preprocessing.records import tfrecord

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record(RecordMetadata):
    """Stored contents of one clip, or of one segment of a long clip.

    Attributes:
      waveform: (samples,) int16 mono; empty if the stream is missing.
      faces: (frames, height, width, channels) uint8, or action units, (frames, units) float32; (0,
        0, 0, 0) or (0, 0) if the stream is missing.
      face_mask: (frames,) bool.
      frame_times_s: (frames,) float32.
      boxes_px: (frames, 4) float32.
      detector: name of the face detector.
    """

    waveform: np.ndarray
    sample_rate_hz: int
    faces: np.ndarray
    face_mask: np.ndarray
    frame_times_s: np.ndarray
    boxes_px: np.ndarray
    detector: str

    def row(self, shard: str) -> ClipRow:
        """Its row of `clips.csv`."""
        return ClipRow(
            **self.metadata(RecordMetadata),
            shard=shard,
            num_samples=len(self.waveform),
            num_faces=int(self.face_mask.sum()),
        )


# === TFRecord ===


def _tensorflow() -> Any:
    """TensorFlow, imported only where records are parsed."""
    tf_setup.import_tensorflow()
    import tensorflow

    return tensorflow


_TEXTS = (
    "id",
    "label",
    "speaker",
    "recording",
    "transcript",
    "detector",
    "audio_hash",
    "video_hash",
)


def to_example(record: Record) -> bytes:
    """Serialises one record in schema 1."""
    return tfrecord.serialize_example(
        {
            **{name: getattr(record, name) for name in _TEXTS},
            "schema": np.array([SCHEMA]),
            "audio": record.waveform.astype("<i2").tobytes(),
            "sample_rate_hz": np.array([record.sample_rate_hz]),
            "video": record.faces.tobytes(),
            "video_shape": np.array(record.faces.shape),
            "video_mask": record.face_mask,
            "frame_times_s": record.frame_times_s,
            "boxes_px": record.boxes_px,
        }
    )


def parse_example(serialized: Any, action_units: bool = False) -> dict[str, Any]:
    """One serialised record -> tensors, inside a tf.data graph.

    Args:
      action_units: whether the video stream is action units; the graph must be built for one kind.
    Returns:
      `id` () string, `audio` (samples,) int16 (see `from_pcm`), `video` (T, H, W, C) uint8 or
      (T, units) float32, `video_mask` (T,) bool, `frame_times_s` (T,) float32, `text` () string,
      `sample_rate_hz` () int64, `schema` () int64.
    """
    tf = _tensorflow()

    one = tf.io.FixedLenFeature
    parsed = tf.io.parse_single_example(
        serialized,
        {
            "schema": one([], tf.int64),
            "id": one([], tf.string),
            "audio": one([], tf.string),
            "sample_rate_hz": one([], tf.int64),
            "video": one([], tf.string),
            "video_shape": one([2 if action_units else 4], tf.int64),
            "video_mask": tf.io.VarLenFeature(tf.int64),
            "frame_times_s": tf.io.VarLenFeature(tf.float32),
            "transcript": one([], tf.string),
        },
    )
    pcm = tf.io.decode_raw(parsed["audio"], tf.int16, little_endian=True)
    kind = tf.float32 if action_units else tf.uint8
    video = tf.reshape(tf.io.decode_raw(parsed["video"], kind), parsed["video_shape"])
    return {
        "id": parsed["id"],
        "audio": pcm,
        "video": video,
        "video_mask": tf.cast(tf.sparse.to_dense(parsed["video_mask"]), tf.bool),
        "frame_times_s": tf.sparse.to_dense(parsed["frame_times_s"]),
        "text": parsed["transcript"],
        "sample_rate_hz": parsed["sample_rate_hz"],
        "schema": parsed["schema"],
    }


class ShardWriter:
    """Appends records to one TFRecord file; a context manager.

    Attributes:
      num_bytes, sha256: of the written data.
    Raises:
      UserError: the file cannot be created or written, for example because the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.num_bytes = 0
        self._path = path
        self._hasher = hashlib.sha256()
        with self._write_errors_named():
            self._file = open(path, "wb")  # noqa: SIM115  (closed by __exit__)

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._write_errors_named():
            self._file.close()

    def write(self, record: Record) -> None:
        """Adds one record."""
        data = tfrecord.frame_record(to_example(record))
        with self._write_errors_named():
            self._file.write(data)
        self.num_bytes += len(data)
        self._hasher.update(data)

    @contextlib.contextmanager
    def _write_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self._path.parent}: cannot write a shard ({error.strerror}); free some space and"
                " run again"
            ) from error


def iter_examples(path: Path) -> Iterator[bytes]:
    """Yields the serialized records of one shard, from a disk or an object store.

    Raises:
      UserError: the shard is absent, truncated or damaged.
    """
    try:
        with storage_paths.open_binary(path) as file:
            yield from tfrecord.iter_records(file)
    except (OSError, ValueError) as error:
        raise damaged_shard(path) from error


def read_shard(path: Path, action_units: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the records of one shard as numpy values, see `parse_example`.

    Raises:
      UserError: the shard is truncated or damaged.
    """
    for serialized in iter_examples(path):
        parsed = parse_example(serialized, action_units)
        yield {key: value.numpy() for key, value in parsed.items()}


def read_records(path: Path, rows: Mapping[str, ClipRow]) -> Iterator[Record]:
    """Yields the complete records of one shard, in order.

    Args:
      path: the shard.
      rows: record id -> its row of `clips.csv`, which holds the fields that the shard lacks (path,
        corpus, segment, official split, attributes); a record without a row is skipped.
    Raises:
      UserError: the shard is absent, truncated or damaged, or of another schema.
    """
    tf = _tensorflow()

    for serialized in iter_examples(path):
        stored = tf.train.Example.FromString(serialized).features.feature
        if (schema := stored["schema"].int64_list.value[0]) != SCHEMA:
            raise UserError(
                f"{path}: records of schema {schema}, this program reads {SCHEMA};"
                " run `preprocess --overwrite`"
            )
        row = rows.get(stored["id"].bytes_list.value[0].decode())
        if row is not None:
            yield _from_example(stored, row)


def _from_example(stored: Any, row: ClipRow) -> Record:
    def raw(name: str) -> bytes:
        return stored[name].bytes_list.value[0]

    shape = tuple(stored["video_shape"].int64_list.value)
    return Record(
        **row.metadata(RecordMetadata) | {name: raw(name).decode() for name in _TEXTS},
        waveform=np.frombuffer(raw("audio"), "<i2").astype(np.int16),
        sample_rate_hz=stored["sample_rate_hz"].int64_list.value[0],
        faces=np.frombuffer(raw("video"), np.float32 if len(shape) == 2 else np.uint8).reshape(
            shape
        ),
        face_mask=np.array(stored["video_mask"].int64_list.value, bool),
        frame_times_s=np.array(stored["frame_times_s"].float_list.value, np.float32),
        boxes_px=np.array(stored["boxes_px"].float_list.value, np.float32).reshape(-1, 4),
    )


def damaged_shard(path: object) -> UserError:
    """The error for a shard that cannot be read completely."""
    return UserError(f"{path}: shard cut short or damaged; run `preprocess` again")
