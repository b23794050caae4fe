"""REST of the embedded server, asked over the wire and compared with the SavedModel itself."""

from __future__ import annotations

import base64
import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tensorflow as tf

from affectstream.core import atomic_io
from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits
from affectstream.serving.export import warmup

pytestmark = pytest.mark.server

TOLERANCE = 1e-5
NAME = "tiny"
TIMEOUT_S = 300
# A body over it is cheap to make.
LIMITS = ServerLimits(max_body_bytes=4 * 1024 * 1024)
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
    config = atomic_io.read_json(version / "assets" / "config.json")
    signatures = warmup.read_signatures(version)
    made = {name: warmup.generate_inputs(signatures[name], config, 2) for name in SIGNATURES}
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
    config = atomic_io.read_json(version / "assets" / "config.json")
    specs = warmup.read_signatures(version)["serve_bytes"]
    inputs = warmup.generate_inputs(specs, config, 1)
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
def test_status_over_rest_names_the_versions(url: str, where: str) -> None:
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


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/V1/Models/{NAME}/VERSIONS/1", 200),
        (f"/v1/MODELS/{NAME}/Metadata", 200),
        (f"/v1/models/{NAME.upper()}", 404),
    ],
)
def test_fixed_parts_of_a_path_in_any_case(url: str, path: str, status: int) -> None:
    assert requests.get(url + path, timeout=TIMEOUT_S).status_code == status


def test_a_verb_in_any_case(url: str, examples: dict[str, Any]) -> None:
    where = f"{url}/V1/models/{NAME}:PREDICT"
    body = as_columns("audio", examples["audio"])
    assert requests.post(where, json=body, timeout=TIMEOUT_S).status_code == 200


def test_metadata_over_rest_names_the_signatures(url: str, version: Path) -> None:
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
        for status in ("OK", "INVALID_ARGUMENT"):
            wanted = f':tensorflow:serving:request_count{{model_name="{NAME}",status="{status}"}} '
            assert wanted in text
        wanted = f'{{API="predict",entrypoint="REST",model_name="{NAME}"}} '
        assert f":tensorflow:serving:request_latency_count{wanted}" in text
