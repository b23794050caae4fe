"""Protobuf messages are bounded in parts before they are parsed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from affectstream.server.errors import ServingError
from affectstream.server.grpc import message_size
from affectstream.server.grpc.message_size import WireFormatError, check_num_fields
from tests.support.grpc_calls import request_of, sound

REQUEST = predict_pb2.PredictRequest.DESCRIPTOR
# As PredictRequest, its map `inputs`, and TensorProto number their fields.
INPUTS, FILTER, KEY, VALUE = 2, 3, 1, 2
SHAPE, STRING, INT64, RESOURCE, VARIANT, DIM, TENSORS = 2, 8, 10, 14, 15, 2, 3


def field(number: int, content: bytes) -> bytes:
    size, made = len(content), bytes([number << 3 | 2])
    while size > 127:
        made += bytes([size & 127 | 128])
        size >>= 7
    return made + bytes([size]) + content


def tensor(content: bytes) -> bytes:
    return field(INPUTS, field(KEY, b"audio") + field(VALUE, content))


def test_a_usual_request_has_few_parts() -> None:
    request = request_of(sound(8, 48_000))
    assert check_num_fields(REQUEST, request.SerializeToString()) < 40
    words = request_of({"text": np.array([b"a", b"b"] * 100, object)})
    assert 200 < check_num_fields(REQUEST, words.SerializeToString()) < 230


def test_numbers_one_by_one_are_taken() -> None:
    """As protobuf has to read them: three seconds of sound for eight rows."""
    samples = 8 * 48_000
    proto = tf.make_tensor_proto(np.zeros(1, np.float32))
    del proto.float_val[:]
    proto.tensor_content = b""
    unpacked = proto.SerializeToString() + b"\x2d\0\0\x80\x3f" * samples
    message = tensor(unpacked)
    assert len(predict_pb2.PredictRequest.FromString(message).inputs["audio"].float_val) == samples
    assert samples < check_num_fields(REQUEST, message) < samples + 20


@pytest.mark.parametrize(
    "message",
    [
        tensor(field(SHAPE, 2000 * field(DIM, b""))),
        tensor(2000 * field(VARIANT, b"")),
        tensor(2000 * field(RESOURCE, b"")),
        tensor(2000 * field(STRING, b"")),
        tensor(field(VARIANT, field(TENSORS, 2000 * field(STRING, b"")))),
        2000 * field(FILTER, b""),
        b"".join(field(INPUTS, field(KEY, b"%d" % number)) for number in range(2000)),
        tensor(field(INT64, bytes(40_000))),
        2000 * b"\x78\x01",  # a field that it does not have
    ],
)
def test_many_parts_are_refused_unparsed(message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_pb2.PredictRequest.FromString(message)  # protobuf takes it
    check_num_fields(REQUEST, message)
    monkeypatch.setattr(message_size, "MAX_PARTS", 1000)
    with pytest.raises(ServingError) as refused:
        check_num_fields(REQUEST, message)
    assert refused.value.http_status == 400
    assert refused.value.message.startswith("PredictRequest: more than 1000 parts; send numbers as")


def deep(levels: int) -> bytes:
    inner: Any = b""
    for _ in range(levels):
        inner = field(VARIANT, field(TENSORS, inner))
    return tensor(inner)


@pytest.mark.parametrize(
    "message",
    [
        b"\x12",
        b"\x12\x05a",
        b"\x12\xff\xff\xff\xff\x0f",
        b"\xff" * 11,
        b"\x0b\x0c",  # a group
        b"\x09abc",
        deep(10),
    ],
)
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(WireFormatError):
        check_num_fields(REQUEST, message)
