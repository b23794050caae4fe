"""What REST of the embedded server refuses, and in which words."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits

pytestmark = pytest.mark.server

NAME = "tiny"
TIMEOUT_S = 300
# A body over it is cheap to make.
LIMITS = ServerLimits(max_body_bytes=4 * 1024 * 1024)


@pytest.fixture(scope="module")
def url(exported: Path) -> Iterator[str]:
    settings = ServeSettings(exported, NAME, rest_port=0, grpc_port=0, limits=LIMITS, analyze=False)
    with Server(settings) as running:
        yield f"http://127.0.0.1:{running.rest_port}"


GET, POST = "GET", "POST"
REFUSED: list[tuple[str, str, int, str]] = [
    (GET, "/v1/models", 400, "Missing model name"),
    (GET, "/v1/models/other", 404, "Could not find any versions of model other"),
    (GET, f"/v1/models/{NAME}/versions/7", 404, "Could not find version 7"),
    (GET, f"/v1/models/{NAME}/versions/{2**63}", 400, "Failed to convert version"),
    (GET, f"/v1/models/{NAME}/versions/{'9' * 3000}", 400, "Failed to convert version"),
    (GET, f"/v1/models/{NAME}/versions/x", 400, "Malformed request: GET"),
    (GET, f"/v1/models/{NAME}/labels/stable", 400, "stable"),
    (GET, "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 400, "Malformed request"),
    (GET, f"/v1/models/{NAME}:predict", 400, "Malformed request: GET"),
    (GET, f"/v1/models/{NAME}/metadata/x", 400, "Malformed request"),
    (GET, "/v1/models/other/metadata", 404, "other"),
    (GET, "/nothing", 404, "Not Found"),
    (GET, "/../../etc/passwd", 404, "Not Found"),
    (POST, f"/v1/models/{NAME}", 400, "Malformed request: POST"),
    (POST, "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
    (POST, f"/v1/models/{NAME}/versions/7:predict", 404, "Servable not found for request:"),
    (POST, f"/v1/models/{NAME}/versions/1/labels/x:predict", 400, "Malformed request"),
    (POST, f"/v1/models/{NAME}/labels/x:predict", 400, "x"),
    (POST, f"/v1/models/{NAME}:classify", 400, "Expected classification signature"),
    (POST, f"/v1/models/{NAME}:regress", 400, "Expected regression signature"),
    (POST, "/v1/models/other:regress", 404, "other"),
    (GET, f"/v1/models/{NAME}/versions/%D9%A1", 400, "Malformed request: GET"),
    (POST, f"/v1/models/{NAME}/versions/%D9%A1:predict", 400, "Malformed request"),
    (GET, "/healthz/", 404, "Not Found"),
    (POST, "/healthz", 405, "Method Not Allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "said"), REFUSED)
def test_a_wrong_path(url: str, method: str, path: str, status: int, said: str) -> None:
    body = b'{"inputs": {}}' if method == POST else None
    answer = requests.request(method, url + path, data=body, timeout=TIMEOUT_S)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def changed(signature: str, **values: Any) -> bytes:
    good = {"audio": [[0.1, 0.2, 0.3]], "audio_length": [3]}
    return json.dumps({"signature_name": signature, "inputs": good | values}).encode()


BAD_BODIES = {
    "empty": b"",
    "no JSON": b"\x00\x01\x02",
    "half": changed("audio")[:-9],
    "deep": b'{"inputs":' * 50_000,
    "unknown signature": changed("other"),
    "signature of the saver": changed("__saved_model_init_op"),
    "missing input": json.dumps({"signature_name": "audio", "inputs": {"audio": [[1]]}}).encode(),
    "rows differ": changed("audio", audio_length=[3, 3]),
    "no rows": changed("audio", audio=[], audio_length=[]),
    "rank": changed("audio", audio=[0.1]),
    "ragged": changed("audio", audio=[[0.1], [0.1, 0.2]], audio_length=[1, 2]),
    "length beyond the sound": changed("audio", audio_length=[4]),
    "negative length": changed("audio", audio_length=[-1]),
    "string": changed("audio", audio=["loud"]),
    "NaN": b'{"signature_name": "audio", "inputs": {"audio": [[NaN]], "audio_length": [1]}}',
    "huge": changed("audio", audio=[[1e30, 0, 0]]),
    "no WAV": b'{"signature_name": "serve_bytes", "inputs": {"wav": ["x"], "face_jpeg": [[""]]}}',
    "no JPEG": b'{"signature_name": "serve_bytes", "inputs": {"wav": [""], "face_jpeg": [["x"]]}}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_wrong_body_is_400_and_harms_nobody(url: str, name: str) -> None:
    where = f"{url}/v1/models/{NAME}:predict"
    answer = requests.post(where, data=BAD_BODIES[name], timeout=TIMEOUT_S)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert len(answer.text) < 600
    assert "Traceback" not in answer.text and str(Path.home()) not in answer.text
    assert requests.post(where, data=changed("audio"), timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(url: str, chunked: bool) -> None:
    body = b"x" * (LIMITS.max_body_bytes + 100_000)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = requests.post(
        f"{url}/v1/models/{NAME}:predict", data=pieces if chunked else body, timeout=TIMEOUT_S
    )
    assert answer.status_code == 413
    assert str(LIMITS.max_body_bytes) in answer.json()["error"]
    if not chunked:  # in pieces, all may have come before it was found too large
        assert answer.headers["connection"] == "close"


# === Compressed ===


def packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def post(url: str, body: bytes, encoding: str = "gzip", name: str = NAME) -> requests.Response:
    where = f"{url}/v1/models/{name}:predict"
    return requests.post(
        where, data=body, headers={"content-encoding": encoding}, timeout=TIMEOUT_S
    )


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_body_of_gzip_is_answered_like_a_plain_one(url: str, encoding: str) -> None:
    plain = post(url, changed("audio"), "identity")
    answer = post(url, packed(changed("audio")), encoding)
    assert (plain.status_code, answer.status_code) == (200, 200)
    assert answer.json() == plain.json()
    assert "content-encoding" not in answer.headers


BAD_GZIP = {
    "nothing": b"",
    "no gzip": changed("audio"),
    "zlib": zlib.compress(changed("audio")),
    "cut off": packed(changed("audio"))[:-9],
    "without its checksum": packed(changed("audio"))[:-8],
    "wrong checksum": packed(changed("audio"))[:-8] + b"\0" * 8,
    "something behind": packed(changed("audio")) + b"x",
    "two of them": packed(changed("audio")) * 2,
    "gzip of nothing": packed(b""),
}


@pytest.mark.parametrize("name", BAD_GZIP)
def test_a_gzip_that_cannot_be_read_is_an_empty_document(url: str, name: str) -> None:
    answer = post(url, BAD_GZIP[name])
    assert answer.status_code == 400
    assert "JSON Parse error: The document is empty" in answer.json()["error"]


@pytest.mark.parametrize("more", [0, 1, 200 * 1024 * 1024])
def test_what_comes_out_of_a_gzip_is_bounded(url: str, more: int) -> None:
    """As long as the limit: judged as JSON; 200 MiB of spaces in 200 KiB: 413."""
    answer = post(url, packed(b" " * (LIMITS.max_body_bytes + more)))
    if not more:
        assert (answer.status_code, "Parse error" in answer.text) == (400, True)
        return
    assert answer.status_code == 413
    assert str(LIMITS.max_body_bytes) in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd"])
def test_another_encoding_is_refused(url: str, encoding: str) -> None:
    answer = post(url, b"x", encoding)
    assert answer.status_code == 415
    assert "gzip" in answer.json()["error"]


def test_a_recording_is_not_unpacked(url: str) -> None:
    headers = {"content-encoding": "gzip"}
    answer = requests.post(f"{url}/v1/analyze", data=packed(b"x"), headers=headers, timeout=9)
    assert answer.status_code == 415


# === A model that is not there ===


@pytest.mark.parametrize("body", [b"", b"no JSON", b"{", b"{}", b'{"instances": []}', b"\xff" * 9])
def test_an_unknown_model_is_404_whatever_the_body_is(url: str, body: bytes) -> None:
    for encoding in ("identity", "gzip"):
        answer = post(url, body, encoding, "other")
        assert answer.status_code == 404
        assert answer.json() == {"error": "Servable not found for request: Latest(other)"}
    answer = post(url, body, "identity", f"{NAME}/versions/7")
    assert answer.status_code == 404
    assert answer.json() == {"error": f"Servable not found for request: Specific({NAME}, 7)"}


# === Counted ===


def counts(url: str) -> dict[str, float]:
    """Status -> requests of the model."""
    text = requests.get(f"{url}/monitoring/prometheus/metrics", timeout=TIMEOUT_S).text
    prefix = f':tensorflow:serving:request_count{{model_name="{NAME}",status="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line.split('"')[0]: float(line.split()[-1]) for line in lines}


EARLY: dict[str, tuple[str, str, dict[str, str], bytes, int, str]] = {
    "too large": (POST, f"{NAME}:predict", {}, b"x" * 5_000_000, 413, "RESOURCE_EXHAUSTED"),
    "encoding": (POST, f"{NAME}:predict", {"content-encoding": "br"}, b"", 415, "INVALID_ARGUMENT"),
    "other site": (
        POST,
        f"{NAME}:predict",
        {"origin": "http://elsewhere"},
        b"",
        403,
        "PERMISSION_DENIED",
    ),
    "no JSON": (POST, f"{NAME}:predict", {}, b"x", 400, "INVALID_ARGUMENT"),
    "no such model": (POST, "other:predict", {}, b"{}", 404, "NOT_FOUND"),
    "other verb": (POST, f"{NAME}:classify", {}, b"{}", 400, "INVALID_ARGUMENT"),
    "malformed": (POST, NAME, {}, b"{}", 400, "INVALID_ARGUMENT"),
    "no such status": (GET, "other", {}, b"", 404, "NOT_FOUND"),
    "no such metadata": (GET, f"{NAME}/versions/9/metadata", {}, b"", 404, "NOT_FOUND"),
    "status": (GET, NAME, {}, b"", 200, "OK"),
}


@pytest.mark.parametrize("name", EARLY)
def test_a_request_is_counted_once_however_early_it_is_refused(url: str, name: str) -> None:
    method, path, headers, body, status, code = EARLY[name]
    before = counts(url)
    where = f"{url}/v1/models/{path}"
    answer = requests.request(method, where, data=body, headers=headers, timeout=TIMEOUT_S)
    assert answer.status_code == status
    assert counts(url) == before | {code: before.get(code, 0) + 1}
