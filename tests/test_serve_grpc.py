"""gRPC of the embedded server, over the published stubs, against the SavedModel itself."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import storage
from server.app import Server, ServeSettings
from server.limits import Limits
from server.messages import to_array
from server.status import ServingError
from serving import warmup
from serving.warmup import Spec

TOLERANCE = 1e-5
NAME = "tiny"
TIMEOUT_S = 60
LIMITS = Limits(max_body_bytes=4 * 1024 * 1024)
Stub = prediction_service_pb2_grpc.PredictionServiceStub


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    settings = ServeSettings(exported, NAME, rest_port=0, grpc_port=0, limits=LIMITS, analyze=False)
    with Server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as made:
        yield made


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return Stub(channel)


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported / "1"))


def sound(num_rows: int = 2, num_samples: int = 2000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(num_samples)
    return {
        "audio": rng.uniform(-0.5, 0.5, (num_rows, num_samples)).astype(np.float32),
        "audio_length": np.full(num_rows, num_samples, np.int32),
    }


def request_of(inputs: dict[str, np.ndarray], signature: str = "audio") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def assert_same(response: Any, loaded: Any, signature: str, inputs: dict[str, np.ndarray]) -> None:
    given = {name: tf.constant(value) for name, value in inputs.items()}
    wanted = loaded.signatures[signature](**given)
    assert response.outputs.keys() == wanted.keys()
    for name, value in wanted.items():
        found = tf.make_ndarray(response.outputs[name])
        if value.dtype == tf.string:
            assert found.tolist() == value.numpy().tolist()
        else:
            np.testing.assert_allclose(found, value.numpy(), atol=TOLERANCE)


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()


# === Predictions ===


@pytest.mark.parametrize("signature", ["serving_default", "audio", "serve_bytes", "labels"])
def test_answers_are_those_of_the_saved_model(
    stub: Any, loaded: Any, exported: Path, signature: str
) -> None:
    config = storage.read_json(exported / "1" / "assets" / "config.json")
    specs = warmup.read_signatures(exported / "1")[signature]
    inputs = warmup.example(specs, config, 2)
    response = stub.Predict(request_of(inputs, signature), timeout=TIMEOUT_S)
    assert_same(response, loaded, signature, inputs)
    assert response.model_spec.name == NAME
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == signature


def test_numbers_travel_as_content(stub: Any) -> None:
    response = stub.Predict(request_of(sound()), timeout=TIMEOUT_S)
    assert len(response.outputs["probabilities"].tensor_content) == 4 * 2 * 7


def test_values_in_their_own_field_are_taken_as_well(stub: Any, loaded: Any) -> None:
    inputs = sound(1, 800)
    request = request_of(inputs)
    tensor = request.inputs["audio"]
    tensor.tensor_content = b""
    tensor.float_val.extend(inputs["audio"][0].tolist())
    assert_same(stub.Predict(request, timeout=TIMEOUT_S), loaded, "audio", inputs)


def test_output_filter(stub: Any) -> None:
    request = request_of(sound())
    request.output_filter.extend(["label"])
    assert list(stub.Predict(request, timeout=TIMEOUT_S).outputs) == ["label"]
    request.output_filter.extend(["label"])
    code, said = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "duplicate" in said
    request.output_filter[1] = "mood"
    code, said = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "mood" in said and "label" in said


def test_a_version_by_number(stub: Any) -> None:
    request = request_of(sound())
    request.model_spec.version.value = 1
    assert stub.Predict(request, timeout=TIMEOUT_S).model_spec.version.value == 1
    request.model_spec.version.value = 9
    code, said = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.NOT_FOUND and "9" in said


def test_many_at_a_time_each_get_their_own_answer(stub: Any, loaded: Any) -> None:
    inputs = [sound(1 + number % 3, 500 + 40 * number) for number in range(24)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(stub.Predict, request_of(one), timeout=TIMEOUT_S) for one in inputs]
    for one, answer in zip(inputs, asked, strict=True):
        assert_same(answer.result(), loaded, "audio", one)


# === Refused ===


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
def test_a_lying_tensor_is_refused_and_harms_nobody(stub: Any, loaded: Any, name: str) -> None:
    key, tensor, said = TENSORS[name]
    request = request_of(sound(1))
    request.inputs[key].CopyFrom(tensor)
    code, told = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT, told
    assert said in told
    good = sound(1)
    assert_same(stub.Predict(request_of(good), timeout=TIMEOUT_S), loaded, "audio", good)


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


def without_name() -> Any:
    request = request_of(sound())
    request.model_spec.name = ""
    return request


def missing_input() -> Any:
    request = request_of(sound())
    del request.inputs["audio_length"]
    return request


REQUESTS: dict[str, tuple[Any, grpc.StatusCode, str]] = {
    "empty": (predict_pb2.PredictRequest(), grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
    "no name": (without_name(), grpc.StatusCode.NOT_FOUND, "Servable not found"),
    "no inputs": (request_of({}), grpc.StatusCode.INVALID_ARGUMENT, "audio,audio_length"),
    "missing input": (missing_input(), grpc.StatusCode.INVALID_ARGUMENT, "{audio_length}"),
    "unknown input": (
        request_of({**sound(), "smell": np.zeros(2, np.float32)}),
        grpc.StatusCode.INVALID_ARGUMENT,
        "smell",
    ),
    "unknown signature": (request_of(sound(), "x"), grpc.StatusCode.INVALID_ARGUMENT, "x"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_request(stub: Any, name: str) -> None:
    request, wanted, said = REQUESTS[name]
    code, told = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    if name == "unknown signature":  # TensorFlow Serving calls it FAILED_PRECONDITION
        assert code in (wanted, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
    else:
        assert code is wanted, told
    assert said in told


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x05abc"])
def test_what_is_no_message_harms_nobody(channel: grpc.Channel, stub: Any, data: bytes) -> None:
    raw = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict", lambda sent: sent, lambda found: found
    )
    code, _ = refusal(lambda: raw(data, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INTERNAL
    assert stub.Predict(request_of(sound()), timeout=TIMEOUT_S).outputs


def test_a_message_over_the_limit(stub: Any) -> None:
    request = request_of(sound(1, LIMITS.max_body_bytes // 4 + 100))
    code, _ = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_deadline_of_the_client_is_passed_on(
    server: Server, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    def run(loaded: Any, signature: str, inputs: Any, timeout_s: float | None = None) -> Any:
        given.append(timeout_s)
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")

    monkeypatch.setattr(server.model_server, "run", run)
    code, said = refusal(lambda: stub.Predict(request_of(sound()), timeout=7))
    assert (code, said) == (grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
    assert given[0] is not None and 0 < given[0] < 8


def test_a_defect_is_not_told_to_the_client(
    server: Server, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*asked: Any) -> Any:
        raise KeyError("/secret/path")

    monkeypatch.setattr(server.model_server, "run", run)
    found = refusal(lambda: stub.Predict(request_of(sound()), timeout=TIMEOUT_S))
    assert found == (grpc.StatusCode.INTERNAL, "internal error")


def test_what_no_model_of_ours_does(stub: Any) -> None:
    request = classification_pb2.ClassificationRequest()
    code, _ = refusal(lambda: stub.Classify(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.UNIMPLEMENTED


# === Tensors of dtypes that no signature here has ===


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint16", "uint64"])
def test_every_dtype_as_content_and_as_values(dtype: str) -> None:
    wanted = np.array([[1, 2, 3]], dtype)
    spec = Spec(dtype, (None, 3))
    tensor = tf.make_tensor_proto(wanted)
    for name in ("half_val", "double_val", "int_val", "int64_val", "uint64_val"):
        tensor.ClearField(name)
    tensor.tensor_content = wanted.tobytes()
    np.testing.assert_array_equal(to_array("x", tensor, spec, 100), wanted)
    one = tf.make_tensor_proto(np.array([[2]], dtype))
    one.tensor_shape.dim[1].size = 3
    found = to_array("x", one, spec, 100)
    assert found.dtype == wanted.dtype
    assert found.tolist() == [[2, 2, 2]]


def test_values_that_do_not_fit() -> None:
    tensor = values(types_pb2.DT_UINT8, (1,), int_val=[256])
    with pytest.raises(ServingError, match="does not fit uint8"):
        to_array("x", tensor, Spec("uint8", (None,)), 100)


def test_every_byte_but_0_is_true() -> None:
    tensor = content(types_pb2.DT_BOOL, (3,), b"\x00\x01\x02")
    found = to_array("x", tensor, Spec("bool", (None,)), 100)
    assert found.dtype == bool
    assert found.tolist() == [False, True, True]


# === About the model ===


def test_metadata(stub: Any, exported: Path) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    response = stub.GetModelMetadata(request, timeout=TIMEOUT_S)
    assert response.model_spec.version.value == 1
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    for signature, specs in warmup.read_signatures(exported / "1").items():
        assert found.signature_def[signature].inputs.keys() == specs.keys()


@pytest.mark.parametrize(("fields", "said"), [([], "at least one"), (["weights"], "weights")])
def test_metadata_that_is_not_there(stub: Any, fields: list[str], said: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = NAME
    code, told = refusal(lambda: stub.GetModelMetadata(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and said in told


def test_status(channel: grpc.Channel) -> None:
    ask = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = NAME
    (found,) = ask(request, timeout=TIMEOUT_S).model_version_status
    assert found.version == 1
    assert found.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert found.status.error_code == 0
    request.model_spec.name = "other"
    code, told = refusal(lambda: ask(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.NOT_FOUND and "other" in told


def test_health(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = stub.Check(request, timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    code, _ = refusal(lambda: stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=9))
    assert code is grpc.StatusCode.NOT_FOUND
    watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
