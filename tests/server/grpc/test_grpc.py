"""gRPC of the embedded server, over the published stubs, against the SavedModel itself."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from affectstream.core import atomic_io
from affectstream.server.app import Server, ServeSettings
from affectstream.server.errors import ServingError
from affectstream.server.limits import ServerLimits
from affectstream.server.memory_quota import MAX_HELD_BODIES
from affectstream.serving.export import warmup
from tests.support.grpc_calls import NAME, TIMEOUT_S, refusal, request_of, sound

pytestmark = pytest.mark.server

TOLERANCE = 1e-5
LIMITS = ServerLimits(max_body_bytes=4 * 1024 * 1024)
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


# === Predictions ===


@pytest.mark.parametrize("signature", ["serving_default", "audio", "serve_bytes", "labels"])
def test_answers_are_those_of_the_saved_model(
    stub: Any, loaded: Any, exported: Path, signature: str
) -> None:
    config = atomic_io.read_json(exported / "1" / "assets" / "config.json")
    specs = warmup.read_signatures(exported / "1")[signature]
    inputs = warmup.generate_inputs(specs, config, 2)
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


def test_an_output_filter_leaves_out_the_rest(stub: Any) -> None:
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
    "no name": (without_name(), grpc.StatusCode.INVALID_ARGUMENT, "no name"),
    "no inputs": (request_of({}), grpc.StatusCode.INVALID_ARGUMENT, "audio,audio_length"),
    "missing input": (missing_input(), grpc.StatusCode.INVALID_ARGUMENT, "{audio_length}"),
    "unknown input": (
        request_of({**sound(), "smell": np.zeros(2, np.float32)}),
        grpc.StatusCode.INVALID_ARGUMENT,
        "smell",
    ),
    "unknown signature": (
        request_of(sound(), "x"),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "x" not found.',
    ),
    "unknown signature and inputs": (
        request_of({"smell": np.zeros(2, np.float32)}, "x"),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "x" not found.',
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_request(stub: Any, name: str) -> None:
    request, wanted, said = REQUESTS[name]
    code, told = refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
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


# === Counted ===


def counted(server: Server) -> dict[str, float]:
    """Status -> predictions."""
    url = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
    text = requests.get(url, timeout=TIMEOUT_S).text
    prefix = f':tensorflow:serving:request_count{{model_name="{NAME}",status="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line.split('"')[0]: float(line.split()[-1]) for line in lines}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refused_call_is_counted(server: Server, stub: Any, name: str) -> None:
    request, code, _ = REQUESTS[name]
    before = counted(server)
    refusal(lambda: stub.Predict(request, timeout=TIMEOUT_S))
    assert counted(server) == before | {code.name: before.get(code.name, 0) + 1}


def test_a_call_for_which_there_is_no_memory_is_counted(server: Server, stub: Any) -> None:
    before, code = counted(server), "RESOURCE_EXHAUSTED"
    most = MAX_HELD_BODIES * LIMITS.max_body_bytes
    server.quota.acquire(most)
    refusal(lambda: stub.Predict(request_of(sound()), timeout=TIMEOUT_S))
    server.quota.release(most)
    assert counted(server) == before | {code: before.get(code, 0) + 1}


# === Errors of ours and of others ===


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


# === About the model ===


def test_metadata_over_grpc_names_the_signatures(stub: Any, exported: Path) -> None:
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


def test_status_over_grpc_names_the_versions(channel: grpc.Channel) -> None:
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


def test_health_over_grpc_is_serving_for_known_services(channel: grpc.Channel) -> None:
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
