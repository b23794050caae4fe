"""REST of the embedded server, asked over the wire and compared with the SavedModel itself."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tensorflow as tf

import storage
from server.app import Server, ServeSettings
from server.limits import Limits
from serving import warmup

TOLERANCE = 1e-5
NAME = "tiny"
TIMEOUT_S = 60
# A body over it is cheap to make.
LIMITS = Limits(max_body_bytes=4 * 1024 * 1024)
SIGNATURES = ("serving_default", "audio", "video")


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    settings = ServeSettings(exported, NAME, rest_port=0, grpc_port=0, limits=LIMITS, analyze=False)
    with Server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture(scope="module")
def version(exported: Path) -> Path:
    return exported / "1"


@pytest.fixture(scope="module")
def loaded(version: Path) -> Any:
    return tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def examples(version: Path) -> dict[str, dict[str, np.ndarray]]:
    """Two short rows for each signature of numbers."""
    config = storage.read_json(version / "assets" / "config.json")
    signatures = warmup.read_signatures(version)
    made = {name: warmup.example(signatures[name], config, 2) for name in SIGNATURES}
    for inputs in made.values():
        if "audio" in inputs:
            inputs["audio"] = inputs["audio"][:, :2000]
            inputs["audio_length"] = np.array([2000, 1500], np.int32)
    return made


def own_answer(loaded: Any, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    found = loaded.signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


def as_columns(signature: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    columns = {name: value.tolist() for name, value in inputs.items()}
    return {"signature_name": signature, "inputs": columns}


def as_rows(signature: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    columns = {name: value.tolist() for name, value in inputs.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signature_name": signature, "instances": rows}


def predict(url: str, body: Any, where: str = "") -> requests.Response:
    return requests.post(f"{url}/v1/models/{NAME}{where}:predict", json=body, timeout=TIMEOUT_S)


def assert_same(found: dict[str, Any], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if value.dtype == object:
            assert found[name] == [text.decode() for text in value]
        else:
            np.testing.assert_allclose(found[name], value, atol=TOLERANCE)


# === Predictions ===


@pytest.mark.parametrize("signature", SIGNATURES)
def test_columns_give_what_the_saved_model_gives(
    url: str, loaded: Any, examples: dict[str, Any], signature: str
) -> None:
    answer = predict(url, as_columns(signature, examples[signature]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    wanted = own_answer(loaded, signature, examples[signature])
    assert_same(answer.json()["outputs"], wanted)


@pytest.mark.parametrize("where", ["", "/versions/1"])
def test_rows_give_what_the_saved_model_gives(
    url: str, loaded: Any, examples: dict[str, Any], where: str
) -> None:
    answer = predict(url, as_rows("audio", examples["audio"]), where)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    found = {name: [row[name] for row in rows] for name in rows[0]}
    assert_same(found, own_answer(loaded, "audio", examples["audio"]))


def test_the_default_signature_needs_no_name(
    url: str, loaded: Any, examples: dict[str, Any]
) -> None:
    body = as_columns("", examples["serving_default"])
    del body["signature_name"]
    wanted = own_answer(loaded, "serving_default", examples["serving_default"])
    assert_same(predict(url, body).json()["outputs"], wanted)


def test_bytes_as_base64(url: str, version: Path, loaded: Any) -> None:
    config = storage.read_json(version / "assets" / "config.json")
    specs = warmup.read_signatures(version)["serve_bytes"]
    inputs = warmup.example(specs, config, 1)
    rows = {
        name: np.vectorize(lambda one: {"b64": base64.b64encode(one).decode()}, [object])(
            value
        ).tolist()
        for name, value in inputs.items()
    }
    answer = predict(url, {"signature_name": "serve_bytes", "inputs": rows})
    assert answer.status_code == 200, answer.text
    assert_same(answer.json()["outputs"], own_answer(loaded, "serve_bytes", inputs))


def test_one_output_and_one_input_have_no_names(url: str, loaded: Any) -> None:
    answer = predict(url, {"signature_name": "labels", "instances": ["", ""]}).json()
    (wanted,) = own_answer(loaded, "labels", {"any": np.array([b"", b""], object)}).values()
    assert answer == {"predictions": [[one.decode() for one in row] for row in wanted]}


def test_many_at_a_time_each_get_their_own_answer(
    url: str, loaded: Any, examples: dict[str, Any]
) -> None:
    def ask(number: int) -> tuple[int, Any]:
        inputs = {name: value[:1].copy() for name, value in examples["audio"].items()}
        inputs["audio"] = inputs["audio"][:, : 500 + 40 * number]
        inputs["audio_length"][:] = 500 + 40 * number
        return number, predict(url, as_columns("audio", inputs)).json()["outputs"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    for number, found in answers:
        length = 500 + 40 * number
        inputs = {
            "audio": examples["audio"]["audio"][:1, :length],
            "audio_length": np.array([length], np.int32),
        }
        assert_same(found, own_answer(loaded, "audio", inputs))


# === What is there ===


@pytest.mark.parametrize("where", ["", "/versions/1"])
def test_status(url: str, where: str) -> None:
    answer = requests.get(f"{url}/v1/models/{NAME}{where}", timeout=TIMEOUT_S)
    assert answer.status_code == 200
    assert answer.json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_metadata(url: str, version: Path) -> None:
    answer = requests.get(f"{url}/v1/models/{NAME}/metadata", timeout=TIMEOUT_S).json()
    assert answer["model_spec"]["name"] == NAME
    assert answer["model_spec"]["version"] == "1"
    found = answer["metadata"]["signature_def"]["signature_def"]
    for signature, specs in warmup.read_signatures(version).items():
        assert found[signature]["inputs"].keys() == specs.keys()
        assert found[signature]["method_name"] == "tensorflow/serving/predict"
    audio = found["serving_default"]["inputs"]["audio"]
    assert audio["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in audio["tensor_shape"]["dim"]] == ["-1", "-1"]


def test_health_and_metrics(url: str, examples: dict[str, Any]) -> None:
    assert requests.get(f"{url}/healthz", timeout=TIMEOUT_S).text == "ok\n"
    assert requests.get(f"{url}/readyz", timeout=TIMEOUT_S).status_code == 200
    assert predict(url, as_columns("audio", examples["audio"])).status_code == 200
    assert predict(url, {"inputs": 1}).status_code == 400
    texts = [
        requests.get(f"{url}{path}", timeout=TIMEOUT_S).text
        for path in ("/metrics", "/monitoring/prometheus/metrics")
    ]
    for text in texts:
        counted = [line for line in text.splitlines() if "request_count_total{" in line]
        assert any('entrypoint="REST"' in line and 'status="OK"' in line for line in counted)
        assert any('status="INVALID_ARGUMENT"' in line for line in counted)


# === Refused ===

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
    "unknown input": changed("audio", picture=[1]),
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
def test_a_wrong_body_is_400_and_harms_nobody(
    url: str, loaded: Any, examples: dict[str, Any], name: str
) -> None:
    where = f"{url}/v1/models/{NAME}:predict"
    answer = requests.post(where, data=BAD_BODIES[name], timeout=TIMEOUT_S)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert len(answer.text) < 600
    assert "Traceback" not in answer.text and str(Path.home()) not in answer.text
    good = predict(url, as_columns("audio", examples["audio"]))
    assert_same(good.json()["outputs"], own_answer(loaded, "audio", examples["audio"]))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(url: str, chunked: bool) -> None:
    body = b"x" * (LIMITS.max_body_bytes + 100_000)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = requests.post(
        f"{url}/v1/models/{NAME}:predict", data=pieces if chunked else body, timeout=TIMEOUT_S
    )
    assert answer.status_code == 413
    assert str(LIMITS.max_body_bytes) in answer.json()["error"]
    assert answer.headers["connection"] == "close"


def test_a_compressed_body_is_not_unpacked(url: str) -> None:
    headers = {"content-encoding": "gzip"}
    where = f"{url}/v1/models/{NAME}:predict"
    assert requests.post(where, data=b"x", headers=headers, timeout=9).status_code == 415


def test_too_many_at_a_time_are_told_to_come_again(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All threads are busy and as many requests wait: one more is refused at once."""
    going_on = threading.Event()
    monkeypatch.setattr("server.rest_api.NUM_THREADS", 2)
    monkeypatch.setattr(server.model_server, "statuses", lambda *asked: (going_on.wait(30), [])[1])
    where = f"{url}/v1/models/{NAME}"
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(requests.get, where, timeout=TIMEOUT_S) for _ in range(5)]
        first = next(concurrent.futures.as_completed(asked)).result()
        assert (first.status_code, first.headers["retry-after"]) == (429, "1")
        going_on.set()
    assert sorted(one.result().status_code for one in asked) == [200, 200, 200, 200, 429]
