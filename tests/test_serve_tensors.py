"""TensorProtos that the embedded server takes and refuses."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from server.app import Server, ServeSettings
from server.limits import Limits
from server.messages import MAX_REPEATED_BYTES, to_array
from server.status import ServingError
from serving.warmup import Spec
from tests.grpc_calls import NAME, TIMEOUT_S, refusal, request_of, sound

LIMITS = Limits(max_body_bytes=4 * 1024 * 1024)


@pytest.fixture(scope="module")
def stub(exported: Path) -> Iterator[Any]:
    settings = ServeSettings(exported, NAME, rest_port=0, grpc_port=0, limits=LIMITS, analyze=False)
    with (
        Server(settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def content(dtype: int, shape: tuple[int, ...], data: bytes) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype, tensor_content=data)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def values(dtype: int, shape: tuple[int, ...], **given: list[Any]) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype, **given)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def unknown_rank() -> tensor_pb2.TensorProto:
    tensor = content(types_pb2.DT_FLOAT, (), b"\0\0\0\0")
    tensor.tensor_shape.unknown_rank = True
    return tensor


FLOAT, INT, STRING = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_STRING
TENSORS: dict[str, tuple[str, tensor_pb2.TensorProto, str]] = {
    "nothing": ("audio", tensor_pb2.TensorProto(), "DT_FLOAT, received DT_INVALID"),
    "other dtype": ("audio", content(INT, (1, 1), b"\0\0\0\0"), "received DT_INT32"),
    "dtype of no name": ("audio", content(7777, (1, 1), b"\0\0\0\0"), "received 7777"),
    "resource": ("audio", content(types_pb2.DT_RESOURCE, (1, 1), b""), "received DT_RESOURCE"),
    "shape promises more": ("audio", content(FLOAT, (1, 9), b"\0" * 4), "needs 36 bytes"),
    "shape promises less": ("audio", content(FLOAT, (1, 1), b"\0" * 8), "needs 4 bytes"),
    "content of 3 bytes": ("audio", content(FLOAT, (1, 1), b"\0" * 3), "needs 4 bytes"),
    "4 TB": ("audio", content(FLOAT, (1_000_000, 1_000_000), b"\0" * 4), "the limit"),
    "beyond 64 bits": ("audio", content(FLOAT, (2**62, 2**62), b"\0" * 4), "the limit"),
    "4 TB of one value": ("audio", values(FLOAT, (10**6, 10**6), float_val=[0.0]), "the limit"),
    "2 MB of one value": ("audio", values(FLOAT, (1, 500_000), float_val=[0.0]), "for the rest"),
    "negative": ("audio", content(FLOAT, (-1, -1), b"\0" * 4), "negative"),
    "unknown rank": ("audio", unknown_rank(), "unknown"),
    "rank 1": ("audio", content(FLOAT, (1,), b"\0" * 4), "wants 2 dimensions, received 1"),
    "rank 300": ("audio", content(FLOAT, (1,) * 300, b"\0" * 4), "received 300"),
    "no values": ("audio", values(FLOAT, (1, 3)), "holds 0"),
    "too many values": ("audio", values(FLOAT, (1, 1), float_val=[1.0, 2.0]), "holds 2"),
    "values of another field": ("audio", values(FLOAT, (1, 1), int_val=[1]), "holds 0"),
    "no rows": ("audio", content(FLOAT, (0, 1), b""), "rows"),
    "rows differ": ("audio", content(FLOAT, (2, 1), b"\0" * 8), "rows"),
    "NaN": ("audio", values(FLOAT, (1, 1), float_val=[float("nan")]), "finite"),
    "length beyond the sound": ("audio_length", values(INT, (1,), int_val=[99999]), "audio_length"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_lying_tensor_is_refused_and_harms_nobody(stub: Any, name: str) -> None:
    key, tensor, said = TENSORS[name]
    request = request_of(sound(1))
    request.inputs[key].CopyFrom(tensor)
    code, told = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT, told
    assert said in told
    assert stub.Predict(request_of(sound(1)), timeout=TIMEOUT_S).outputs


def test_strings_must_be_as_many_as_the_shape_says(stub: Any) -> None:
    """One string for many places would be copied for each."""
    for tensor in (
        values(STRING, (3,), string_val=[b"x" * 1000]),
        values(STRING, (1,), string_val=[b"", b""]),
        content(STRING, (1,), b"\x01x"),
    ):
        request = request_of({}, "labels")
        request.inputs["any"].CopyFrom(tensor)
        code, told = refusal(functools.partial(stub.Predict, request, timeout=TIMEOUT_S))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "string" in told


# === Tensors of dtypes that no signature here has ===


def free(num_bytes: int) -> None:
    """Bytes without a bound."""


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint16", "uint64"])
def test_every_dtype_as_content_and_as_values(dtype: str) -> None:
    wanted = np.array([[1, 2, 3]], dtype)
    spec = Spec(dtype, (None, 3))
    tensor = tf.make_tensor_proto(wanted)
    for name in ("half_val", "double_val", "int_val", "int64_val", "uint64_val"):
        tensor.ClearField(name)
    tensor.tensor_content = wanted.tobytes()
    np.testing.assert_array_equal(to_array("x", tensor, spec, 100, free), wanted)
    one = tf.make_tensor_proto(np.array([[2]], dtype))
    one.tensor_shape.dim[1].size = 3
    found = to_array("x", one, spec, 100, free)
    assert found.dtype == wanted.dtype
    assert found.tolist() == [[2, 2, 2]]


def test_values_that_do_not_fit() -> None:
    tensor = values(types_pb2.DT_UINT8, (1,), int_val=[256])
    with pytest.raises(ServingError, match="does not fit uint8"):
        to_array("x", tensor, Spec("uint8", (None,)), 100, free)


def test_every_byte_but_0_is_true() -> None:
    tensor = content(types_pb2.DT_BOOL, (3,), b"\x00\x01\x02")
    found = to_array("x", tensor, Spec("bool", (None,)), 100, free)
    assert found.dtype == bool
    assert found.tolist() == [False, True, True]


def test_one_value_for_many_only_while_they_are_small() -> None:
    """A few bytes would become many; that is known before anything is announced or made."""
    announced: list[int] = []
    spec, most = Spec("float32", (None,)), MAX_REPEATED_BYTES // 4
    tensor = values(FLOAT, (most,), float_val=[0.5])
    assert to_array("x", tensor, spec, 2**30, announced.append).tolist() == [0.5] * most
    assert announced == [MAX_REPEATED_BYTES]
    tensor.tensor_shape.dim[0].size += 1
    with pytest.raises(ServingError, match="one stands for the rest up to 65536 bytes only"):
        to_array("x", tensor, spec, 2**30, announced.append)
    assert announced == [MAX_REPEATED_BYTES]
