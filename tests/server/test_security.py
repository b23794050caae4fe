"""Who may ask the embedded server, and what nobody can do to it."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from affectstream.core.errors import UserError
from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits
from affectstream.server.origins import PublicOrigin
from affectstream.server.page import page_api
from affectstream.server.security import has_valid_token

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


# === Token ===


@pytest.mark.parametrize("path", [STATUS, f"{STATUS}/metadata", "/metrics", "/nothing"])
def test_without_the_token_nothing_is_told(url: str, path: str) -> None:
    answer = get(url, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert list(answer.json()) == ["error"]
    assert TOKEN not in answer.text
    assert requests.post(url + PREDICT, data=b"{}", timeout=TIMEOUT_S).status_code == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/page.css", "/page.js"])
def test_the_page_and_the_health_are_open(url: str, path: str) -> None:
    there = path in ("/healthz", "/readyz") or path in page_api.PUBLIC_PATHS
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
    assert has_valid_token(TOKEN, given) is right
    assert has_valid_token(None, given)


def test_the_token_over_grpc(server: Server) -> None:
    request = predict_pb2.PredictRequest()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        health = health_pb2_grpc.HealthStub(channel)
        for metadata in ((), (("authorization", "Bearer x"),)):
            with pytest.raises(grpc.RpcError) as raised:
                predict(request, timeout=TIMEOUT_S, metadata=metadata)
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            answer = health.Check(health_pb2.HealthCheckRequest(), metadata=metadata)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING  # open to all
        with pytest.raises(grpc.RpcError) as raised:
            predict(request, timeout=TIMEOUT_S, metadata=tuple(BEARER.items()))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # it is looked at


def test_without_the_token_no_message_is_waited_for(server: Server) -> None:
    """Calls that say nothing are refused at once, and one with the token is answered."""
    going_on = threading.Event()

    def nothing() -> Iterator[bytes]:
        going_on.wait()
        yield from ()

    method = "/tensorflow.serving.PredictionService/Predict"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = channel.stream_unary(method)
        calls = [ask.future(nothing(), timeout=TIMEOUT_S) for _ in range(100)]
        for call in calls:
            assert call.exception().code() is grpc.StatusCode.UNAUTHENTICATED
        going_on.set()
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(method)(b"", timeout=20, metadata=tuple(BEARER.items()))
        assert raised.value.details() == "Missing ModelSpec"


def test_who_has_no_token_is_counted(server: Server, url: str) -> None:
    def counted() -> float:
        text = get(url, "/metrics", **BEARER).text
        named = (
            f':tensorflow:serving:request_count{{model_name="{NAME}",status="UNAUTHENTICATED"}} '
        )
        return sum(float(x.removeprefix(named)) for x in text.splitlines() if x.startswith(named))

    before = counted()
    assert get(url).status_code == 401
    assert requests.post(url + PREDICT, data=b"{}", timeout=TIMEOUT_S).status_code == 401
    assert get(url, "/nothing").status_code == 401  # of no model
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for method in ("PredictionService/Predict", "PredictionService/X", "X/Predict"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/tensorflow.serving.{method}")(b"", timeout=TIMEOUT_S)
    assert counted() == before + 3


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


# === Behind a proxy ===

ORIGINS = tuple(
    PublicOrigin.parse(text)
    for text in ("https://page.example/affect", "http://other.example:8080")
)


@pytest.fixture(scope="module")
def behind(exported: Path) -> Iterator[str]:
    settings = ServeSettings(
        exported, NAME, rest_port=0, grpc_port=0, analyze=False, public_origins=ORIGINS
    )
    with Server(settings) as running:
        assert running.addresses().endswith(
            ", in browsers https://page.example/affect/, in browsers http://other.example:8080/"
        )
        yield f"http://127.0.0.1:{running.rest_port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "page.example"}, 200),
        ({"host": "PAGE.example:443"}, 200),
        ({"host": "page.example", "origin": "https://page.example"}, 200),
        ({"origin": "https://page.example"}, 200),  # a proxy that puts its own name for Host
        ({"origin": "https://PAGE.example", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "other.example:8080", "origin": "http://other.example:8080"}, 200),
        ({"host": "other.example"}, 403),  # another port is another origin
        ({"origin": "http://page.example"}, 403),
        ({"origin": "https://page.example:8443"}, 403),
        ({"origin": "https://page.example.evil.example"}, 403),
        ({"origin": "https://evil.example", "host": "page.example"}, 403),
        ({"origin": "https://page.example", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        # Whoever reaches the port can say these.
        ({"host": "evil.example", "x-forwarded-host": "page.example"}, 403),
        ({"origin": "https://evil.example", "x-forwarded-host": "evil.example"}, 403),
        ({"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}, 200),
    ],
)
def test_the_page_behind_a_proxy_is_no_other_site(
    behind: str, headers: dict[str, str], status: int
) -> None:
    for path in (STATUS, "/page.js", f"/affect{STATUS}", "/affect/page.js"):
        assert get(behind, path, **headers).status_code == status, path


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/affect/", 200),
        ("/affect/v1/about", 200),
        ("/affect/healthz", 200),
        ("/affectation/", 404),
        ("/affect/affect/", 404),
        ("/other/", 404),
    ],
)
def test_a_prefix_may_stay(behind: str, path: str, status: int) -> None:
    assert get(behind, path).status_code == status


def test_a_prefix_without_its_slash_is_a_folder(behind: str) -> None:
    """The page's own addresses are relative to it."""
    answer = requests.get(f"{behind}/affect", allow_redirects=False, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.headers["location"]) == (308, "affect/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert get(behind, "/affect").text == get(behind, "/").text


def test_a_refusal_tells_how_a_proxy_is_named(url: str) -> None:
    for headers in ({"host": "page.example"}, {"origin": "https://page.example"}):
        said = get(url, **headers).json()["error"]
        assert said.endswith("; behind a proxy it is started with --public-origin")


@pytest.mark.parametrize(
    ("text", "origin", "prefix"),
    [
        ("https://Page.Example", "https://page.example", ""),
        ("https://page.example/", "https://page.example", ""),
        ("https://page.example:443/a/b/", "https://page.example", "/a/b"),
        ("http://page.example:80", "http://page.example", ""),
        ("http://page.example:443/~me", "http://page.example:443", "/~me"),
        ("http://[::1]:8080/x", "http://[::1]:8080", "/x"),
    ],
)
def test_a_public_origin(text: str, origin: str, prefix: str) -> None:
    found = PublicOrigin.parse(text)
    assert (found.origin, found.prefix) == (origin, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "page.example",
        "ftp://page.example",
        "https://",
        "https://me@page.example",
        "https://page.example:99999",
        "https://page.example?x=1",
        "https://page.example/#x",
        "https://page.example/a//b",
        "https://page.example/../b",
        "https://page.example/a b",
        "https://p\u00e4ge.example",
        "https://*.example",
    ],
)
def test_what_is_no_public_origin(text: str) -> None:
    with pytest.raises(UserError, match="not the address of a page; give http or https, host"):
        PublicOrigin.parse(text)


@pytest.mark.parametrize("first", ["v1", "metrics", "healthz", "readyz", "monitoring", "page.js"])
def test_a_prefix_is_no_path_of_the_server(first: str) -> None:
    with pytest.raises(UserError, match=f"/{first} is a path of the server itself; give"):
        PublicOrigin.parse(f"https://page.example/{first}/x")


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


def test_limits_have_no_field_without_a_bound() -> None:
    assert all(value > 0 for value in dataclasses.astuple(ServerLimits()))
