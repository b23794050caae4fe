"""Malformed requests of every kind against the embedded server, which must stay alive and right.

A request counts as handled when the server answers it in time with a code that blames the client,
or answers it like any other because what was damaged does not matter (a sample of a waveform).
After every few of them a right request must get the right answer. Half of the recordings are
damaged where their container says sizes, counts and kinds. Exit code 1: a fault was found.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks import inputs, report, served
from benchmarks.robustness import damage
from benchmarks.robustness.damage import corrupt_bytes
from benchmarks.served import NAME, TOLERANCE, Arrays, RunningServer
from benchmarks.speed.load_clients import predict_request

TIMEOUT_S = 60.0
CHECK_EVERY = 25
QUICK_EACH = 4
# What a server may answer to a bad request; everything else is a fault of the server. One client
# that asks once at a time is neither too many (429, RESOURCE_EXHAUSTED) nor too slow (408).
CLIENT_ERRORS = (400, 404, 413, 415, 422)
GRPC_CLIENT_ERRORS = (
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
)
# Bytes that are no message are INTERNAL in every gRPC server.
UNREADABLE = ("this is no PredictRequest", "a call without a message")


# === Four ways to ask ===


class Attack:
    """Malformed requests to one server.

    Args:
      row: inputs of `serving_default` that it answers.
      files: recordings whose bytes are damaged.
    """

    def __init__(self, server: RunningServer, row: Arrays, files: Sequence[Path]) -> None:
        import grpc

        self._server = server
        self._row = row
        self._files = [file.read_bytes() for file in files]
        self._wavs = [data for data in self._files if data[:4] == b"RIFF"]
        self._body = json.dumps({"inputs": {k: _jsonable(v) for k, v in row.items()}}).encode()
        self._request = predict_request(row).SerializeToString()
        self._session = requests.Session()
        self._channel = grpc.insecure_channel(server.grpc)
        path = "/tensorflow.serving.PredictionService/Predict"
        self._raw = self._channel.unary_unary(path, lambda data: data, lambda data: data)

    def close(self) -> None:
        self._session.close()
        self._channel.close()

    def json(self, rng: np.random.Generator) -> str:
        if rng.random() < 0.5:
            body = damage.MALFORMED_JSON[int(rng.integers(0, len(damage.MALFORMED_JSON)))]
        else:
            body = corrupt_bytes(rng, self._body)
        return self._post(f"/v1/models/{NAME}:predict", body, "application/json")

    def protobuf(self, rng: np.random.Generator) -> str:
        """Raw bytes, or a message that parses and lies about types and shapes."""
        from tensorflow.core.framework import types_pb2

        if rng.random() < 0.5:
            return self._call(corrupt_bytes(rng, self._request))
        message = predict_request(self._row)
        name = str(rng.choice(sorted(message.inputs)))
        tensor = message.inputs[name]
        kind = int(rng.integers(0, 6))
        if kind == 0:
            tensor.dtype = int(rng.choice(types_pb2.DataType.values()))
        elif kind == 1:
            tensor.tensor_shape.dim[0].size = int(rng.choice([-1, 0, 2, 2**31, 2**62]))
        elif kind == 2:
            tensor.tensor_shape.dim.add(size=int(rng.choice([0, 1, 3, 2**40])))
        elif kind == 3:
            tensor.tensor_content = corrupt_bytes(rng, tensor.tensor_content)
        elif kind == 4:
            del message.inputs[name]
        else:
            message.model_spec.signature_name = str(rng.choice(["", "x", "labels", "serve_bytes"]))
            message.inputs["more"].CopyFrom(tensor)
        return self._call(message.SerializeToString())

    def wav(self, rng: np.random.Generator) -> str:
        """Damaged WAV bytes for `serve_bytes`, as base64 in JSON."""
        import base64

        data = _either(rng, self._wavs[int(rng.integers(0, len(self._wavs)))][:200_000])
        given: dict[str, Any] = {"wav": [{"b64": base64.b64encode(data).decode()}]}
        if "video" in self._row:
            given["face_jpeg"] = [[""]]
        if "text" in self._row:
            given["text"] = [""]
        body = json.dumps({"signature_name": "serve_bytes", "inputs": given}).encode()
        return self._post(f"/v1/models/{NAME}:predict", body, "application/json")

    def media(self, rng: np.random.Generator) -> str:
        """A damaged recording for `/v1/analyze`."""
        data = _either(rng, self._files[int(rng.integers(0, len(self._files)))])
        return self._post("/v1/analyze", data, "application/octet-stream")

    def _post(self, path: str, body: bytes, kind: str) -> str:
        try:
            answer = self._session.post(
                self._server.rest + path,
                data=body,
                headers={"Content-Type": kind},
                timeout=TIMEOUT_S,
            )
        except requests.RequestException as error:
            return f"FAULT {type(error).__name__}"
        return judged(answer.status_code, answer.text)

    def _call(self, data: bytes) -> str:
        import grpc

        try:
            self._raw(data, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code().name
            is_unread = code == "INTERNAL" and error.details() in UNREADABLE
            told = code in GRPC_CLIENT_ERRORS or is_unread
            return code if told else f"FAULT {code}: {str(error.details())[:200]}"
        return "OK"


def judged(status: int, text: str) -> str:
    """What an HTTP answer counts as: its status, or a fault."""
    if status == 200:
        return "200"
    if status not in CLIENT_ERRORS:
        return f"FAULT {status}: {text[:200]}"
    return str(status) if '"error"' in text else "FAULT no reason given"


def _either(rng: np.random.Generator, data: bytes) -> bytes:
    """Damages any byte, or one chunk of the container."""
    return (corrupt_bytes if rng.random() < 0.5 else damage.corrupt_chunk)(rng, data)


def _jsonable(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [text.decode() for text in value]
    return value.tolist()


def is_right(server: RunningServer, row: Arrays, expected: np.ndarray) -> bool:
    """Whether a right request gets the right answer."""
    body = {"inputs": {name: _jsonable(value) for name, value in row.items()}}
    url = f"{server.rest}/v1/models/{NAME}:predict"
    try:
        answer = requests.post(url, json=body, timeout=TIMEOUT_S)
    except requests.RequestException:
        return False
    if not answer.ok:
        return False
    given = np.array(answer.json()["outputs"]["probabilities"])
    return given.shape == expected.shape and float(np.abs(given - expected).max()) <= TOLERANCE


# === Report ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="export or bundle with sound")
    parser.add_argument("--each", type=int, default=250, help="requests of each of four kinds")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    machine = report.machine()
    each = min(chosen.each, QUICK_EACH) if chosen.quick else chosen.each
    version = served.versions_of(chosen.model)[-1]
    with report.work_folder(chosen.work) as work:
        home = served.fresh_home(work)
        served.copy_version(version, home, 1)
        files, told = _files(chosen.quick, work)
        options = ["--weights-dir", str(chosen.weights_dir)] if chosen.weights_dir else []
        row, expected = _question(version)
        with served.serving(home, work / "server.log", options) as server:
            rows = _attacked(server, row, expected, files, each, chosen.seed)
    note = (
        f"{each} requests of each kind, seed {chosen.seed}, made from {told}; after every"
        f" {CHECK_EVERY} a right request, whose answer is compared with the bare model's."
    )
    columns = ("kind", "answered with", "faults", "right requests answered right", "")
    report.publish(
        "Malformed requests",
        "serve_malformed",
        words,
        machine,
        [note, report.table(columns, rows)],
        chosen,
    )
    return served.exit_code(rows)


def _attacked(
    server: RunningServer,
    row: Arrays,
    expected: np.ndarray,
    files: Sequence[Path],
    each: int,
    seed: int,
) -> list[tuple[str, ...]]:
    attack = Attack(server, row, files)
    kinds: dict[str, Callable[[np.random.Generator], str]] = {
        "JSON": attack.json,
        "protobuf": attack.protobuf,
        "WAV in `serve_bytes`": attack.wav,
        "media to `/v1/analyze`": attack.media,
    }
    rows: list[tuple[str, ...]] = []
    for kind, ask in kinds.items():
        rng = np.random.default_rng(seed)
        seen: Counter[str] = Counter()
        num_right = num_asked = 0
        for turn in range(each):
            seen[ask(rng)] += 1
            if (turn + 1) % CHECK_EVERY == 0 or turn + 1 == each:
                num_asked += 1
                num_right += is_right(server, row, expected)
        faults = {code: count for code, count in seen.items() if code.startswith("FAULT")}
        for fault, count in faults.items():
            print(f"{kind}: {count} x {fault}", file=sys.stderr)
        told = ", ".join(f"{c}: {n}" for c, n in sorted(seen.items()) if c not in faults)
        is_met = not faults and num_right == num_asked
        rows.append(
            (
                kind,
                told,
                str(sum(faults.values())),
                f"{num_right} of {num_asked}",
                report.verdict(is_met),
            )
        )
    attack.close()
    return rows


def _files(is_quick: bool, work: Path) -> tuple[list[Path], str]:
    if not is_quick:
        files, told = served.recordings()
        if files:
            return files, told
    from affectstream.serving.export.wav_bytes import to_wav

    path = work / "noise.wav"
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)
    path.write_bytes(to_wav(noise, 16_000))
    made, _ = inputs.clips(work, is_quick=True)
    return [path, made[0].path], "a WAV file of noise and a SYNTHETIC clip"


def _question(version: Path) -> tuple[Arrays, np.ndarray]:
    """A row of noise that JSON can say in few bytes, and the bare model's answer."""
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.serving.export.savedmodel_export import load_saved_model

    saved = load_saved_model(version)
    signature = saved.signatures["serving_default"]
    row = served.noise(signature, 1)[0]
    return row, served.answers(signature, [row])[0]


if __name__ == "__main__":
    raise SystemExit(main())
