"""TFRecord files of `tf.train.Example`, written without TensorFlow, which takes seconds to import.

Source: tensorflow/core/lib/io/record_writer.h (framing) and tensorflow/core/example/feature.proto.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# TFRecord masks its CRCs, because the CRC of data that contains its own CRC is weak.
_MASK_DELTA = 0xA282EAD8
# Lists that a feature may hold: message, field of the feature, type of the values.
_LISTS = (
    ("BytesList", "bytes_list", "TYPE_BYTES"),
    ("FloatList", "float_list", "TYPE_FLOAT"),
    ("Int64List", "int64_list", "TYPE_INT64"),
)
_PACKAGE = "affectstream"

Value = str | bytes | np.ndarray


def frame_record(data: bytes) -> bytes:
    """One framed record of a TFRecord file: its length, the data, and a checksum of each."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _masked_crc(length), data, _masked_crc(data)))


def iter_records(file: io.BufferedIOBase) -> Iterator[bytes]:
    """The records of a TFRecord file, one after the other.

    Raises:
      ValueError: the file ends within a record, or a checksum is wrong.
    """
    while head := file.read(12):
        length = head[:8]
        if len(head) < 12 or head[8:] != _masked_crc(length):
            raise ValueError("length of a record damaged")
        data, crc = file.read(struct.unpack("<Q", length)[0]), file.read(4)
        if crc != _masked_crc(data):
            raise ValueError("record damaged")
        yield data


def framed_size(data: bytes) -> int:
    """Bytes of `frame_record` for `data`."""
    return len(data) + 16


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def serialize_example(features: Mapping[str, Value]) -> bytes:
    """A serialised `tf.train.Example`, the same bytes for the same features.

    Args:
      features: text and bytes become one value of a `BytesList`, float arrays a `FloatList`
        (float32), integer and bool arrays an `Int64List`, row by row.
    """
    example = _example_class()()
    example.features.SetInParent()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            feature.bytes_list.value.append(raw)
        elif np.issubdtype(value.dtype, np.floating):
            feature.float_list.SetInParent()
            feature.float_list.value.extend(np.ravel(value).tolist())
        else:
            feature.int64_list.SetInParent()
            feature.int64_list.value.extend(np.ravel(value).astype(np.int64).tolist())
    return bytes(example.SerializeToString(deterministic=True))


def read_text_feature(serialized: bytes, feature: str) -> str:
    """A text within a serialised `tf.train.Example`."""
    stored = _example_class().FromString(serialized).features.feature[feature]
    return str(stored.bytes_list.value[0], "utf-8")


@functools.cache
def _example_class() -> Any:
    """The message class `Example`, defined here to avoid importing TensorFlow."""
    file = descriptor_pb2.FileDescriptorProto(
        name="affectstream/example.proto", package=_PACKAGE, syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (message, name, kind) in enumerate(_LISTS, start=1):
        _add(file.message_type.add(name=message), "value", 1, getattr(field, kind), repeated=True)
        _add(feature, name, number, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, field.TYPE_STRING)
    _add(entry, "value", 2, "Feature")
    _add(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    _add(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add(message: Any, name: str, number: int, kind: int | str, repeated: bool = False) -> Any:
    """A field of a message; `kind` is a scalar type or the name of a message."""
    field = descriptor_pb2.FieldDescriptorProto
    label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if isinstance(kind, str):
        options = {"type": field.TYPE_MESSAGE, "type_name": f".{_PACKAGE}.{kind}"}
    else:
        options = {"type": kind}
    return message.field.add(name=name, number=number, label=label, **options)
