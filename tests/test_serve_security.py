"""Who may ask the embedded server, and what nobody can do to it."""

from __future__ import annotations

import dataclasses
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from server import page_api, security, sockets
from server.app import Server, ServeSettings
from server.limits import Limits
from server.security import is_right_token

NAME = "tiny"
TOKEN = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {TOKEN}"}
STATUS = f"/v1/models/{NAME}"
PREDICT = f"/v1/models/{NAME}:predict"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    settings = ServeSettings(
        exported, NAME, rest_port=0, grpc_port=0, token=TOKEN, limits=Limits(), analyze=False
    )
    with Server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


def get(url: str, path: str = STATUS, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url + path, headers=named, timeout=TIMEOUT_S)


# === Token ===


@pytest.mark.parametrize("path", [STATUS, f"{STATUS}/metadata", "/metrics", "/readyz", "/nothing"])
def test_without_the_token_nothing_is_told(url: str, path: str) -> None:
    answer = get(url, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert list(answer.json()) == ["error"]
    assert TOKEN not in answer.text
    assert requests.post(url + PREDICT, data=b"{}", timeout=TIMEOUT_S).status_code == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/page.css", "/page.js"])
def test_the_page_and_the_health_are_open(url: str, path: str) -> None:
    there = path == "/healthz" or path in page_api.PUBLIC_PATHS
    assert get(url, path).status_code == (200 if there else 401)
    assert requests.post(url + path, data=b"", timeout=TIMEOUT_S).status_code == 401


def test_with_the_token(url: str) -> None:
    assert get(url, **BEARER).status_code == 200


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("Bearer ", False),
        ("Bearer \udcff\u00fc", False),
        ("", False),
    ],
)
def test_the_token_is_compared_whole(given: str, right: bool) -> None:
    assert is_right_token(TOKEN, given) is right
    assert is_right_token(None, given)


def test_the_token_over_grpc(server: Server) -> None:
    request = predict_pb2.PredictRequest()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        health = health_pb2_grpc.HealthStub(channel)
        for metadata in ((), (("authorization", "Bearer x"),)):
            with pytest.raises(grpc.RpcError) as raised:
                predict(request, timeout=TIMEOUT_S, metadata=metadata)
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as raised:
                next(health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata))
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as raised:
            predict(request, timeout=TIMEOUT_S, metadata=tuple(BEARER.items()))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # it is looked at


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(ServeSettings(Path("x"), token=TOKEN))


# === Other web sites ===


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8501", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8501", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:8501@evil.example", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine(url: str, host: str, status: int) -> None:
    assert get(url, host=host, **BEARER).status_code == status
    assert get(url, "/", host=host).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000", "host": "localhost:8501"}, 403),
        ({"origin": "http://[", "host": "localhost"}, 403),
        ({"origin": "http://localhost:8501", "host": "localhost:8501"}, 200),
        ({"origin": "http://localhost", "host": "localhost:80"}, 200),
    ],
)
def test_requests_of_other_sites_are_refused(
    url: str, headers: dict[str, str], status: int
) -> None:
    assert get(url, **headers, **BEARER).status_code == status
    assert get(url, "/", **headers).status_code == 200  # a link to the page does no harm
    answer = requests.post(url + "/healthz", data=b"", headers=headers | BEARER, timeout=TIMEOUT_S)
    assert answer.status_code == (405 if status == 200 else 403)


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/healthz", 200), (STATUS, 401), ("/x", 401), ("//", 401)]
)
def test_headers_are_on_every_answer(url: str, path: str, status: int) -> None:
    answer = get(url, path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert re.split(r"; *", policy) == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


# === Slow and broken clients ===


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=TIMEOUT_S)


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
def test_headers_that_do_not_come(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(sockets, "HEADER_S", 0.3)
    with connect(server) as connection:
        began_s = time.monotonic()
        connection.sendall(sent)
        assert read_all(connection) == b""
        assert time.monotonic() - began_s < 10


def test_headers_of_a_second_request_that_trickle(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "HEADER_S", 0.5)
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        began_s = time.monotonic()
        with pytest.raises(OSError):  # each byte would set back a time without data
            for byte in b"GET /healthz HTTP/1.1\r\n" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come(
    server: Server, monkeypatch: pytest.MonkeyPatch, length: bytes
) -> None:
    monkeypatch.setattr(security, "BODY_GRACE_S", 0.3)
    with connect(server) as connection:
        connection.sendall(HEAD + length + b"\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_that_is_promised_too_large_is_not_waited_for(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 600_000,
        b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 5000,
    ],
)
def test_what_is_no_http(server: Server, url: str, sent: bytes) -> None:
    with connect(server) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = read_all(connection)
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer), answer[:200]
    assert get(url, **BEARER).status_code == 200


def test_a_client_that_leaves_in_the_middle(
    server: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 5000)
    time.sleep(0.2)
    assert get(url, **BEARER).status_code == 200
    assert caplog.records == []


def test_limits_have_no_field_without_a_bound() -> None:
    assert all(value > 0 for value in dataclasses.astuple(Limits()))
