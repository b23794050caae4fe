"""Versions put into the folder of a running server, while clients ask it over gRPC and REST."""

from __future__ import annotations

import contextlib
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from affectstream.server.app import Server, ServeSettings
from tests.support.bundles import copy_with_other_weights, shares

pytestmark = pytest.mark.server

NAME = "tiny"
TOLERANCE = 1e-5
SOON_S = 90.0
ASK_S = 60
Arrays = dict[str, np.ndarray]


@pytest.fixture
def home(exported: Path, tmp_path: Path) -> Path:
    """A folder of versions with version 1."""
    folder = tmp_path / "served" / NAME
    shutil.copytree(exported / "1", folder / "1")
    return folder


@pytest.fixture
def second(exported: Path, tmp_path: Path) -> Path:
    """A version that takes the same and answers otherwise."""
    (tmp_path / "ready").mkdir()
    return copy_with_other_weights(exported / "1", tmp_path / "ready" / "2")


def question(seed: int, num_rows: int, num_samples: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "audio": rng.normal(0, 0.1, (num_rows, num_samples)).astype(np.float32),
        "audio_length": np.full(num_rows, num_samples, np.int32),
        "video": rng.integers(0, 256, (num_rows, 2, 32, 32, 1)).astype(np.uint8),
        "video_mask": np.ones((num_rows, 2), bool),
    }


class Client:
    """A thread that asks one question after the other until it is told to end.

    Attributes:
      seen: version of every right answer, in their order.
      problems: a line for every request that failed or was answered wrongly.
    """

    def __init__(
        self, ask: Callable[[Arrays], tuple[int | None, np.ndarray]], wanted: dict[int, Any]
    ) -> None:
        self.seen: list[int] = []
        self.problems: list[str] = []
        self._ask = ask
        self._wanted = wanted
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        turn = 0
        while not self._over.is_set():
            inputs, answers = QUESTIONS[turn % len(QUESTIONS)], {}
            for version, wanted in self._wanted.items():
                answers[version] = wanted[turn % len(QUESTIONS)]
            turn += 1
            try:
                said, given = self._ask(inputs)
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")
                continue
            right = [n for n, one in answers.items() if np.abs(given - one).max() <= TOLERANCE]
            if len(right) == 1 and said in (None, right[0]):
                self.seen.append(right[0])
            else:
                self.problems.append(f"says version {said}, answers like {right}")

    def answers(self, version: int) -> int:
        return self.seen.count(version)


QUESTIONS = [question(1, 2, 4_000), question(2, 1, 9_000), question(3, 3, 700)]


def over_grpc(server: Server) -> Callable[[Arrays], tuple[int | None, np.ndarray]]:
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(inputs: Arrays) -> tuple[int | None, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = NAME
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = stub.Predict(request, timeout=ASK_S)
        return answer.model_spec.version.value, tf.make_ndarray(answer.outputs["probabilities"])

    return ask


def over_rest(server: Server) -> Callable[[Arrays], tuple[int | None, np.ndarray]]:
    session = requests.Session()
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}:predict"

    def ask(inputs: Arrays) -> tuple[int | None, np.ndarray]:
        body = {"inputs": {name: value.tolist() for name, value in inputs.items()}}
        answer = session.post(url, json=body, timeout=ASK_S)
        answer.raise_for_status()
        return None, np.array(answer.json()["outputs"]["probabilities"])  # it names no version

    return ask


def states(server: Server) -> dict[int, tuple[str, str]]:
    """Version -> state and message, as a client is told."""
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}"
    told = requests.get(url, timeout=ASK_S).json()["model_version_status"]
    return {int(n["version"]): (n["state"], n["status"]["error_message"]) for n in told}


def until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < end_s, "it did not come to that in time"
        time.sleep(0.05)


@contextlib.contextmanager
def asked(server: Server, wanted: dict[int, Any]) -> Iterator[list[Client]]:
    with Client(over_grpc(server), wanted) as one, Client(over_rest(server), wanted) as other:
        yield [one, other]


def held_by(server: Server) -> list[weakref.ref[Any]]:
    """What the version that answers keeps in memory: itself, its model, its weights."""
    with server._store.lease() as loaded:
        function = loaded._functions["serving_default"]
        assert function.variables
        return [weakref.ref(one) for one in (loaded, loaded._saved, *function.variables)]


def test_versions_are_swapped_while_clients_ask(
    home: Path, second: Path, exported: Path, tmp_path: Path
) -> None:
    wanted = {}
    for number, folder in ((1, exported / "1"), (2, second)):
        model = tf.saved_model.load(str(folder))
        wanted[number] = [shares(model, inputs) for inputs in QUESTIONS]
    del model
    assert min(np.abs(a - b).max() for a, b in zip(*wanted.values(), strict=True)) > 1e-3
    broken = shutil.copytree(second, tmp_path / "ready" / "3") / "saved_model.pb"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    settings = ServeSettings(home, poll_s=0.2, rest_port=0, grpc_port=0, analyze=False)
    with Server(settings) as server, asked(server, wanted) as clients:
        first = held_by(server)
        until(lambda: all(c.answers(1) >= 3 or c.problems for c in clients))
        second.rename(home / "2")
        until(lambda: states(server).get(1) == ("END", ""))
        until(lambda: all(c.answers(2) >= 3 or c.problems for c in clients))
        gc.collect()
        left = [repr(one())[:80] for one in first if one() is not None]
        assert left == []
        broken.parent.rename(home / "3")
        until(lambda: states(server).get(3, ("",))[0] == "END")
        more = [client.answers(2) + 3 for client in clients]
        until(
            lambda: all(
                c.answers(2) >= num or c.problems for c, num in zip(clients, more, strict=True)
            )
        )
        found = states(server)
    assert [client.problems for client in clients] == [[], []]
    for client in clients:  # nobody was answered by the old one again
        assert client.seen == sorted(client.seen)
    assert found[2] == ("AVAILABLE", "")
    assert "version 3" in found[3][1] and str(home) not in found[3][1]
