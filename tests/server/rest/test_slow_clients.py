"""Clients of the embedded server that are slow, or speak no HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from starlette.responses import Response

from affectstream.server import app, security, sockets
from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits

pytestmark = pytest.mark.server

NAME = "tiny"
TOKEN = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {TOKEN}"}
STATUS = f"/v1/models/{NAME}"
PREDICT = f"/v1/models/{NAME}:predict"
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    settings = ServeSettings(
        exported, NAME, rest_port=0, grpc_port=0, token=TOKEN, limits=ServerLimits(), analyze=False
    )
    with Server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


def get(url: str, path: str = STATUS, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url + path, headers=named, timeout=TIMEOUT_S)


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


@pytest.mark.parametrize("reads", [True, False])
def test_an_answer_that_is_read_slowly_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(sockets, "WRITE_S", 0.5)
    answer = Response(b"x" * 24_000_000)
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(sockets.listen("127.0.0.1", 0, "--rest-port"))
        ends.enter_context(app._answering(answer, listener))
        connection = ends.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(TIMEOUT_S)
        connection.connect(("127.0.0.1", listener.port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began_s, num_read = time.monotonic(), 0
        while time.monotonic() - began_s < 2.5:  # five times what is given to read something
            num_read += len(connection.recv(65536)) if reads else 0
            time.sleep(0.02)
        with contextlib.suppress(ConnectionResetError):
            while num_read < len(answer.body) and (piece := connection.recv(2**20)):
                num_read += len(piece)
    assert (num_read >= len(answer.body)) is reads


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


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_told_so_as_json(server: Server, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    told = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert json.loads(body) == {"error": "Invalid HTTP request received."}
    assert told["content-type"] == "application/json"
    assert told["connection"] == "close"
    for name, value in security.HEADERS.items():
        assert told[name] == value.lower()


def test_a_client_that_leaves_in_the_middle(
    server: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 5000)
    time.sleep(0.2)
    assert get(url, **BEARER).status_code == 200
    assert caplog.records == []
