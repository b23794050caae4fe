"""The embedded server with more requests, and larger ones, than it takes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from affectstream.server.app import Server, ServeSettings
from affectstream.server.grpc import grpc_server
from affectstream.server.limits import ServerLimits
from affectstream.server.memory_quota import MAX_HELD_BODIES
from affectstream.server.rest import json_size, json_tensors
from affectstream.server.thread_pool import ThreadPool
from tests.support.grpc_calls import NAME, TIMEOUT_S, refusal, request_of, sound

pytestmark = pytest.mark.server

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
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


# === Calls that cost nothing ===

OWN = [("grpc.use_local_subchannel_pool", 1)]
NUM_CALLS = 80  # on each of three connections: more than there are threads, and than may wait


@contextlib.contextmanager
def silent_calls(port: int, metadata: Any = None) -> Iterator[list[Any]]:
    """Calls that are open and send no message."""
    going_on = threading.Event()

    def nothing() -> Iterator[bytes]:
        going_on.wait()
        yield from ()

    with contextlib.ExitStack() as channels:
        calls = []
        for _ in range(3):
            made = channels.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", OWN))
            ask = made.stream_unary("/tensorflow.serving.PredictionService/Predict")
            calls += [ask.future(nothing(), timeout=TIMEOUT_S) for _ in range(NUM_CALLS)]
        try:
            yield calls
        finally:
            going_on.set()


def test_silent_calls_hold_up_nobody(server: Server, stub: Any) -> None:
    with silent_calls(server.grpc_port) as calls:
        time.sleep(1.0)
        assert not any(call.done() for call in calls)
        assert stub.Predict(request_of(sound()), timeout=20).outputs
        assert server.quota.num_bytes == 0


def test_a_silent_call_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "RECEIVE_S", 0.3)
    with silent_calls(server.grpc_port) as calls:
        for call in calls:
            assert call.exception(TIMEOUT_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "too slowly" in call.details()


def test_those_who_watch_the_health_hold_up_nobody(server: Server, stub: Any) -> None:
    with contextlib.ExitStack() as channels:
        watching = []
        for _ in range(3):
            made = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", OWN)
            watch = health_pb2_grpc.HealthStub(channels.enter_context(made)).Watch
            watching += [watch(health_pb2.HealthCheckRequest()) for _ in range(NUM_CALLS)]
        for one in watching:
            assert next(one).status == health_pb2.HealthCheckResponse.SERVING
        assert stub.Predict(request_of(sound()), timeout=20).outputs
        for one in watching:
            one.cancel()


def test_a_call_without_a_message(channel: grpc.Channel) -> None:
    ask = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    code, said = refusal(lambda: ask(iter(()), timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INTERNAL and "without a message" in said


def narrow(monkeypatch: pytest.MonkeyPatch, threads: ThreadPool) -> None:
    """Two run, two stand in line."""
    monkeypatch.setattr(threads, "num_threads", 2)
    monkeypatch.setattr(threads, "max_requests", 4)


def held(monkeypatch: pytest.MonkeyPatch, server: Server) -> threading.Event:
    """Predictions run once the event is set."""
    going_on, usual = threading.Event(), server.model_server.run
    monkeypatch.setattr(
        server.model_server, "run", lambda *asked: (going_on.wait(TIMEOUT_S), usual(*asked))[1]
    )
    return going_on


def test_too_many_at_a_time_are_told_to_come_again(
    server: Server, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = held(monkeypatch, server)
    narrow(monkeypatch, server._grpc.threads)
    asked = [stub.Predict.future(request_of(sound()), timeout=TIMEOUT_S) for _ in range(5)]
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        ends = [pool.submit(call.exception) for call in asked]
        first = next(concurrent.futures.as_completed(ends)).result()
        assert first is not None and first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        going_on.set()
    assert sum(end.result() is None for end in ends) == 4


def test_bytes_of_all_requests_have_a_bound(
    server: Server, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the message while it is read, afterwards of the arrays alone."""
    most, inputs = MAX_HELD_BODIES * LIMITS.max_body_bytes, sound()
    num_bytes = sum(value.nbytes for value in inputs.values())
    for left in (100, num_bytes + 500):  # not for the message; for it, but not for the arrays
        server.quota.acquire(most - left)
        code, said = refusal(lambda: stub.Predict(request_of(inputs), timeout=TIMEOUT_S))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "too many large requests" in said
        server.quota.release(most - left)
    held: list[int] = []
    usual = server.model_server.run

    def run(*asked: Any) -> Any:
        held.append(server.quota.num_bytes)
        return usual(*asked)

    monkeypatch.setattr(server.model_server, "run", run)
    assert stub.Predict(request_of(inputs), timeout=TIMEOUT_S).outputs
    assert held == [num_bytes]
    assert server.quota.num_bytes == 0


# === REST ===


def predict(url: str) -> requests.Response:
    inputs = {name: value.tolist() for name, value in sound().items()}
    body: Any = {"signature_name": "audio", "inputs": inputs}
    return requests.post(f"{url}/v1/models/{NAME}:predict", json=body, timeout=TIMEOUT_S)


def test_too_many_at_a_time_over_rest(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All threads are busy and as many requests wait: one more is refused at once."""
    going_on = threading.Event()
    narrow(monkeypatch, server._rest.status_threads)
    monkeypatch.setattr(server.model_server, "statuses", lambda *asked: (going_on.wait(30), [])[1])
    where = f"{url}/v1/models/{NAME}"
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(requests.get, where, timeout=TIMEOUT_S) for _ in range(5)]
        first = next(concurrent.futures.as_completed(asked)).result()
        assert (first.status_code, first.headers["retry-after"]) == (429, "1")
        going_on.set()
    assert sorted(one.result().status_code for one in asked) == [200, 200, 200, 200, 429]


def test_only_arrays_are_kept_while_the_model_runs(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON is gone, and its bytes are no longer counted."""
    bodies: list[weakref.ref[Any]] = []
    kept: list[tuple[bool, int]] = []
    read, run = json_tensors.parse_predict_body, server.model_server.run

    def parse_predict_body(body: bytes) -> Any:
        found = read(body)
        bodies.append(weakref.ref(found))
        return found

    def later(loaded: Any, signature: str, inputs: Any) -> Any:
        arrays = sum(value.nbytes for value in inputs.values())
        kept.append((bodies[0]() is not None, server.quota.num_bytes - arrays))
        return run(loaded, signature, inputs)

    monkeypatch.setattr(json_tensors, "parse_predict_body", parse_predict_body)
    monkeypatch.setattr(server.model_server, "run", later)
    assert predict(url).status_code == 200
    assert kept == [(False, 0)]


def test_bytes_of_all_requests_over_rest(server: Server, url: str) -> None:
    most = MAX_HELD_BODIES * LIMITS.max_body_bytes
    server.quota.acquire(most - 1000)
    answer = predict(url)
    assert answer.status_code == 429
    assert "too many large requests" in answer.json()["error"]
    server.quota.release(most - 1000)
    assert predict(url).status_code == 200
    assert server.quota.num_bytes == 0


def test_status_and_metadata_do_not_stand_behind_predictions(
    server: Server, url: str, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place of a prediction is taken, over both protocols; who asks how it goes is told."""
    going_on = held(monkeypatch, server)
    narrow(monkeypatch, server._rest.threads)
    narrow(monkeypatch, server._grpc.threads)
    about = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    about.model_spec.name = NAME
    state = get_model_status_pb2.GetModelStatusRequest(model_spec=about.model_spec)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        over_rest = [pool.submit(predict, url) for _ in range(5)]
        first = next(concurrent.futures.as_completed(over_rest)).result()
        assert first.status_code == 429
        calls = [Stub(channel).Predict.future(request_of(sound()), timeout=60) for _ in range(5)]
        over_grpc = [pool.submit(call.exception) for call in calls]
        refused = next(concurrent.futures.as_completed(over_grpc)).result()
        assert refused is not None and refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(10):
            for path in (f"/v1/models/{NAME}", f"/v1/models/{NAME}/metadata"):
                assert requests.get(url + path, timeout=TIMEOUT_S).status_code == 200
            assert Stub(channel).GetModelMetadata(about, timeout=TIMEOUT_S).metadata
            status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
            assert status(state, timeout=TIMEOUT_S).model_version_status
        assert sum(one.done() for one in [*over_rest, *over_grpc]) == 2  # the refused ones
        going_on.set()
    assert sorted(one.result().status_code for one in over_rest) == [200, 200, 200, 200, 429]
    assert sum(one.result() is None for one in over_grpc) == 4


def test_a_question_of_status_is_short(channel: grpc.Channel) -> None:
    """It is read beside the predictions, so it may not be one of their size."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "x" * 70_000
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    code, said = refusal(lambda: status(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said == "GetModelStatusRequest: 70008 bytes; at most 65536 are read"


def test_a_json_bomb_is_refused_unread(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one here would be refused for its length; a small bound stands for it."""
    monkeypatch.setattr(json_size, "MAX_JSON_BYTES", 1 << 20)
    where = f"{url}/v1/models/{NAME}:predict"
    bomb = b'{"inputs": [' + 100_000 * b"[]," + b"[]]}"
    answer = requests.post(where, data=bomb, timeout=TIMEOUT_S)
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("this JSON would take 14 MiB once it is read, at most")
    assert server.quota.num_bytes == 0
    assert predict(url).status_code == 200


# === Health ===


def test_the_health_follows_the_versions(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = health_pb2.HealthCheckResponse
    request = health_pb2.HealthCheckRequest(service="tensorflow.serving.ModelService")
    told = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=TIMEOUT_S)
    assert next(told).status == answers.SERVING
    with monkeypatch.context() as gone:
        gone.setattr(server.model_server.store, "is_ready", lambda: False)
        assert next(told).status == answers.NOT_SERVING
    assert next(told).status == answers.SERVING
    told.cancel()
