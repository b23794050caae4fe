"""How the embedded server ends: at a signal, in time, and where it cannot start."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from affectstream.core.errors import UserError
from affectstream.server import app
from affectstream.server.analysis.upload_slots import server_stopping_error
from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits
from tests.conftest import ROOT
from tests.support.grpc_calls import TIMEOUT_S, request_of, sound
from tests.support.processes import sigint_handler

pytestmark = pytest.mark.server

BODY: Any = {"signature_name": "audio", "inputs": {"audio": [[0.1, 0.2, 0.3]], "audio_length": [3]}}


def slow(monkeypatch: pytest.MonkeyPatch, server: Server, seconds: float) -> threading.Event:
    """Makes each prediction take so long; the event is set once one runs."""
    begun, usual = threading.Event(), server.model_server.run

    def later(*asked: Any) -> Any:
        begun.set()
        time.sleep(seconds)
        return usual(*asked)

    monkeypatch.setattr(server.model_server, "run", later)
    return begun


def grpc_predict(port: int) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request_of(sound(1)), timeout=TIMEOUT_S)


def test_running_requests_are_answered_and_new_ones_refused(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServeSettings(exported, "tiny", rest_port=0, grpc_port=0, analyze=False)
    with Server(settings) as server, concurrent.futures.ThreadPoolExecutor(3) as pool:
        url = f"http://127.0.0.1:{server.rest_port}"
        where = f"{url}/v1/models/tiny:predict"
        assert requests.post(where, json=BODY, timeout=TIMEOUT_S).status_code == 200
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        told = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(told).status == health_pb2.HealthCheckResponse.SERVING
        begun = slow(monkeypatch, server, 1.5)
        over_rest = pool.submit(requests.post, where, json=BODY, timeout=TIMEOUT_S)
        over_grpc = pool.submit(grpc_predict, server.grpc_port)
        assert begun.wait(TIMEOUT_S)
        time.sleep(0.3)
        stopping = pool.submit(server.stop)
        assert next(told).status == health_pb2.HealthCheckResponse.NOT_SERVING
        told.cancel()
        channel.close()
        refused = 0
        while not (over_rest.done() and over_grpc.done()):
            with contextlib.suppress(requests.HTTPError):
                try:
                    requests.get(f"{url}/healthz", timeout=TIMEOUT_S)
                except requests.ConnectionError:
                    refused += 1
            time.sleep(0.05)
        assert over_rest.result().status_code == 200
        assert over_grpc.result().outputs
        assert refused > 0
        stopping.result(TIMEOUT_S)
        with pytest.raises(grpc.RpcError):
            grpc_predict(server.grpc_port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_it_well(
    exported: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    settings = ServeSettings(exported, "tiny", rest_port=0, grpc_port=0, analyze=False)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))  # even while it still loads
    timer.start()
    app.serve(settings)
    timer.join()
    assert signal.getsignal(number) is before
    assert "serving tiny version 1: http://127.0.0.1:" in capsys.readouterr().err


def test_what_still_runs_at_the_end_is_told_so(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One time for all of it, REST, gRPC and leases, which a longer request does not change."""
    limits = ServerLimits(drain_s=1.0)
    settings = ServeSettings(exported, "tiny", rest_port=0, grpc_port=0, limits=limits)
    with Server(settings) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        where = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
        slow(monkeypatch, server, 10.0)
        over_rest = pool.submit(requests.post, where, json=BODY, timeout=TIMEOUT_S)
        over_grpc = pool.submit(grpc_predict, server.grpc_port)
        both = 4 * (3 + 1) + 4 * (2000 + 1)
        deadline_s = time.monotonic() + TIMEOUT_S
        while server.quota.num_bytes < both and time.monotonic() < deadline_s:
            time.sleep(0.05)
        began_s = time.monotonic()
        server.stop()
        assert time.monotonic() - began_s < 5
        assert over_rest.result().status_code == 503
        assert "stopping" in over_rest.result().json()["error"]
        error = over_grpc.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in error.details()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(number: signal.Signals, code: int) -> None:
    probe = """
import time
from affectstream.server.signals import wait_for_shutdown
with wait_for_shutdown() as wait:
    print("serving", flush=True)
    wait()
    print("stopping", flush=True)
    time.sleep(60)
"""
    with sigint_handler(signal.SIG_IGN):  # as in the background of a shell: the server hears it yet
        process = subprocess.Popen(
            [sys.executable, "-c", probe], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
    try:
        assert process.stdout is not None
        for said in ("serving\n", "stopping\n"):
            assert process.stdout.readline() == said
            process.send_signal(number)
        began_s = time.monotonic()
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code
        assert time.monotonic() - began_s < 20
    finally:
        process.kill()


def test_an_end_that_hangs_is_given_up() -> None:
    """Within the grace period, with the exit code of an end that went well."""
    probe = """
import threading
from affectstream.server.signals import exit_within
with exit_within(0.0):
    threading.Event().wait()
"""
    ended = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "ended; what still ran was given up\n"


def test_an_upload_at_the_end_freezes_nobody(exported: Path) -> None:
    """It comes while a recording still runs: it is refused, and everybody else is answered."""
    settings = ServeSettings(exported, "tiny", rest_port=0, grpc_port=0)
    may_end = threading.Event()

    class Draining:
        closing = threading.Event()

        def close(self, drain_s: float | None = None) -> None:
            self.closing.set()
            assert may_end.wait(TIMEOUT_S)

        def receive(self) -> Any:
            raise server_stopping_error()

    with Server(settings) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        usual, server._pools._pool = server._pools._pool, Draining()  # type: ignore[assignment]
        usual.close(0.0)
        url = f"http://127.0.0.1:{server.rest_port}"
        ending = pool.submit(server._close_pools, 30.0)
        try:
            assert Draining.closing.wait(TIMEOUT_S)
            answer = requests.post(f"{url}/v1/analyze", data=b"x", timeout=TIMEOUT_S)
            assert answer.status_code == 503
            assert requests.get(f"{url}/healthz", timeout=TIMEOUT_S).status_code == 200
            where = f"{url}/v1/models/tiny:predict"
            assert requests.post(where, json=BODY, timeout=TIMEOUT_S).status_code == 200
            assert not ending.done()
        finally:
            may_end.set()


def ports_of_nobody() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        return one.getsockname()[1], other.getsockname()[1]


def assert_nothing_is_left(settings: ServeSettings, threads: set[threading.Thread]) -> None:
    """After a start that fails, both ports are free and no thread runs."""
    with pytest.raises(UserError):
        Server(settings).start()
    for port in (settings.rest_port, settings.grpc_port):
        with socket.create_server(("127.0.0.1", port)):
            pass
    left = {one for one in set(threading.enumerate()) - threads if "-loop" in one.name}
    assert left == set()


def test_nothing_is_left_running_when_the_model_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "saved_model.pb").write_bytes(b"nothing")
    rest_port, grpc_port = ports_of_nobody()
    threads = set(threading.enumerate())
    settings = ServeSettings(broken, rest_port=rest_port, grpc_port=grpc_port, analyze=False)
    assert_nothing_is_left(settings, threads)


def test_nothing_is_left_running_when_http_does_not_start(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def startup(self: Any, sockets: Any = None) -> None:
        while not self.should_exit:
            await asyncio.sleep(0.01)

    monkeypatch.setattr("uvicorn.Server.startup", startup)
    monkeypatch.setattr(app, "START_S", 0.2)
    rest_port, grpc_port = ports_of_nobody()
    threads = set(threading.enumerate())
    settings = ServeSettings(exported, rest_port=rest_port, grpc_port=grpc_port, analyze=False)
    assert_nothing_is_left(settings, threads)


def test_the_addresses_of_a_server_whose_versions_are_gone(exported: Path) -> None:
    settings = ServeSettings(exported, "tiny", rest_port=0, grpc_port=0, analyze=False)
    with Server(settings) as server:
        server.model_server.store.stop()
        assert "serving tiny no version: http" in server.addresses()
