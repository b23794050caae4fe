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

from affectstream.server.app import Server, ServeSettings
from affectstream.server.errors import ServingError
from affectstream.server.grpc.messages import MAX_REPEATED_BYTES, tensor_to_array
from affectstream.server.limits import ServerLimits
from affectstream.serving.export.warmup import InputSpec
from tests.support.grpc_calls import NAME, TIMEOUT_S, refusal, request_of, sound

pytestmark = pytest.mark.server

LIMITS = ServerLimits(max_body_bytes=4 * 1024 * 1024)


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


def free(num_bytes: int) -> None:
    """Bytes without a bound."""


FLOAT, INT, STRING = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_STRING
TENSORS: dict[str, tuple[str, tensor_pb2.TensorProto, str]] = {
    "nothing": ("audio", tensor_pb2.TensorProto(), "DT_FLOAT, received DT_INVALID"),
    "other dtype": ("audio", content(INT, (1, 1), b"\0\0\0\0"), "received DT_INT32"),
    "dtype of no name": ("audio", content(7777, (1, 1), b"\0\0\0\0"), "received 7777"),
    "resource": ("audio", content(types_pb2.DT_RESOURCE, (1, 1), b""), "received DT_RESOURCE"),
    "shape promises more": (
        "audio",
        content(FLOAT, (1, 9), b"\0" * 4),
        "tensor parsing error: audio: shape [1, 9] needs 36",
    ),
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
    "2 MB of no value": ("audio", values(FLOAT, (1, 500_000)), "holds 0"),
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


STRINGS: dict[str, tuple[tensor_pb2.TensorProto, str]] = {
    "one long for many": (
        values(STRING, (66,), string_val=[b"x" * 1000]),
        "one stands for the rest",
    ),
    "no for many": (values(STRING, (2000,)), "one stands for the rest"),
    "lengths of more": (content(STRING, (1,), b"\x02x"), "strings of 2 bytes"),
    "lengths of less": (content(STRING, (2,), b"\x01\x00xy"), "strings of 1 bytes"),
    "too few lengths": (content(STRING, (3,), b"\x00\x00"), "no lengths of 3 strings"),
    "length cut off": (content(STRING, (1,), b"\x81\x80"), "no lengths of 1 strings"),
    "length of 6 bytes": (content(STRING, (1,), b"\x81\x80\x80\x80\x80\x00x"), "no lengths of 1"),
    "length of 4 GiB": (content(STRING, (1,), b"\xff\xff\xff\xff\x0fx"), "strings of 4294967295"),
    "very many": (content(STRING, (2**18 + 1,), b"\x00"), "more than 262144 strings"),
}


@pytest.mark.parametrize("name", STRINGS)
def test_strings_that_lie_are_refused(stub: Any, name: str) -> None:
    tensor, said = STRINGS[name]
    request = request_of({}, "labels")
    request.inputs["any"].CopyFrom(tensor)
    code, told = refusal(functools.partial(stub.Predict, request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in told


def test_strings_as_content_are_answered(stub: Any) -> None:
    request = request_of({}, "labels")
    request.inputs["any"].CopyFrom(content(STRING, (2,), b"\x00\x01x"))
    assert tf.make_ndarray(stub.Predict(request, timeout=TIMEOUT_S).outputs["labels"]).shape[0] == 2


# === What TensorFlow makes of a message is made of it here ===

LONG = b"y" * 300
ODD: dict[str, tuple[str, tensor_pb2.TensorProto]] = {
    "strings as content": (
        "object",
        content(STRING, (2, 2), b"\x00\x01\x03\xac\x02x\x00\xff\xfe" + LONG),
    ),
    "a length with needless bytes": ("object", content(STRING, (1,), b"\x81\x80\x80\x80\x00x")),
    "a length of 35 bits": ("object", content(STRING, (1,), b"\x81\x80\x80\x80\x10x")),
    "strings as content and as values": (
        "object",
        tensor_pb2.TensorProto(
            dtype=STRING,
            tensor_shape=content(STRING, (1,), b"").tensor_shape,
            tensor_content=b"\x01x",
            string_val=[b"z"],
        ),
    ),
    "no strings": ("object", values(STRING, (2,))),
    "fewer strings": ("object", values(STRING, (3,), string_val=[b"a", b"bc"])),
    "more strings": ("object", values(STRING, (1,), string_val=[b"a", b"bc"])),
    "no rows of strings": ("object", content(STRING, (0,), b"\x01x")),
    "no rows": ("float32", content(FLOAT, (0,), b"\x01")),
    "no values": ("float32", values(FLOAT, (3,))),
    "values of another field": ("float32", values(FLOAT, (2,), int_val=[1])),
    "more values": ("float32", values(FLOAT, (1,), float_val=[1.5, 2.5])),
    "fewer values": ("float32", values(FLOAT, (3,), float_val=[1.5, 2.5])),
    "pixels": ("uint8", values(types_pb2.DT_UINT8, (4,), int_val=[256, -1, 300, 2**31 - 1])),
    "pixels, fewer": ("uint8", values(types_pb2.DT_UINT8, (3,), int_val=[300])),
    "int8": ("int8", values(types_pb2.DT_INT8, (3,), int_val=[200, -129, 128])),
    "uint16": ("uint16", values(types_pb2.DT_UINT16, (2,), int_val=[70000, -1])),
    "half": ("float16", values(types_pb2.DT_HALF, (2,), half_val=[70000 % 65536, 15360])),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_tensor_is_what_tensorflow_makes_of_it(name: str) -> None:
    dtype, tensor = ODD[name]
    spec = InputSpec(dtype, (None,) * len(tensor.tensor_shape.dim))
    wanted = tf.io.parse_tensor(tensor.SerializeToString(), tf.as_dtype(tensor.dtype)).numpy()
    found = tensor_to_array("x", tensor, spec, 2**20, free)
    assert found.dtype == wanted.dtype
    assert found.tolist() == wanted.tolist()


# === Tensors of dtypes that no signature here has ===


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint16", "uint64"])
def test_every_dtype_as_content_and_as_values(dtype: str) -> None:
    wanted = np.array([[1, 2, 3]], dtype)
    spec = InputSpec(dtype, (None, 3))
    tensor = tf.make_tensor_proto(wanted)
    for name in ("half_val", "double_val", "int_val", "int64_val", "uint64_val"):
        tensor.ClearField(name)
    tensor.tensor_content = wanted.tobytes()
    np.testing.assert_array_equal(tensor_to_array("x", tensor, spec, 100, free), wanted)
    one = tf.make_tensor_proto(np.array([[2]], dtype))
    one.tensor_shape.dim[1].size = 3
    found = tensor_to_array("x", one, spec, 100, free)
    assert found.dtype == wanted.dtype
    assert found.tolist() == [[2, 2, 2]]


def test_a_boolean_of_another_byte_is_refused_as_tensorflow_does() -> None:
    tensor = content(types_pb2.DT_BOOL, (3,), b"\x00\x01\x01")
    found = tensor_to_array("x", tensor, InputSpec("bool", (None,)), 100, free)
    assert found.dtype == bool
    assert found.tolist() == [False, True, True]
    tensor.tensor_content = b"\x00\x01\x02"
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_tensor(tensor.SerializeToString(), tf.bool)
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        tensor_to_array("x", tensor, InputSpec("bool", (None,)), 100, free)


def test_strings_are_announced_before_they_are_made() -> None:
    announced: list[int] = []
    spec = InputSpec("object", (None,))
    tensor_to_array("x", content(STRING, (2,), b"\x01\x02abc"), spec, 100, announced.append)
    tensor_to_array(
        "x", values(STRING, (3,), string_val=[b"a", b"bc"]), spec, 100, announced.append
    )
    assert [number >= least for number, least in zip(announced, (3, 5), strict=True)] == [True] * 2


def test_one_value_for_many_only_while_they_are_small() -> None:
    """A few bytes would become many; that is known before anything is announced or made."""
    announced: list[int] = []
    spec, most = InputSpec("float32", (None,)), MAX_REPEATED_BYTES // 4
    tensor = values(FLOAT, (most,), float_val=[0.5])
    assert tensor_to_array("x", tensor, spec, 2**30, announced.append).tolist() == [0.5] * most
    assert announced == [MAX_REPEATED_BYTES]
    tensor.tensor_shape.dim[0].size += 1
    with pytest.raises(ServingError, match="one stands for the rest up to 65536 bytes only"):
        tensor_to_array("x", tensor, spec, 2**30, announced.append)
    assert announced == [MAX_REPEATED_BYTES]
