"""Clients of the server, each a process made only of tensorflow-serving-api."""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.served import NAME, TOLERANCE, Arrays

# Longest wait for a client to get ready or to end.
CLIENT_S = 120.0
RETRY_S = 0.05


@dataclass
class ClientStats:
    """What one client saw.

    Attributes:
      latencies_s: of each answered request.
      by_version: requests that each version answered.
      problems: one line for every answer that was wrong or missing.
    """

    latencies_s: list[float] = field(default_factory=list)
    by_version: dict[int, int] = field(default_factory=dict)
    num_wrong: int = 0
    num_failed: int = 0
    problems: list[str] = field(default_factory=list)


# === One client ===


@dataclass(frozen=True)
class ClientChannels:
    """Events and queue between the clients and the process that started them.

    Attributes:
      go, over: events: begin to ask, and end.
      said: queue of what clients say, see `ClientPool`.
    """

    go: Any
    over: Any
    said: Any


def client(
    address: str,
    batches: list[Arrays],
    expected: dict[int, list[np.ndarray]],
    first: int,
    signals: ClientChannels,
) -> None:
    """Sends requests from batch `first` on until stopped; reports None, then tally or error."""
    try:
        signals.said.put(_asked(address, batches, expected, first, signals))
    except Exception as error:
        signals.said.put(f"{type(error).__name__}: {error}")


def _asked(
    address: str,
    batches: list[Arrays],
    expected: dict[int, list[np.ndarray]],
    first: int,
    signals: ClientChannels,
) -> ClientStats:
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    prepared = [predict_request(batch) for batch in batches]
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    tally = ClientStats()
    with grpc.insecure_channel(address, options=unlimited) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        signals.said.put(None)
        signals.go.wait()
        turn = first
        while not signals.over.is_set():
            which = turn % len(prepared)
            turn += 1
            began_s = time.perf_counter()
            try:
                answer = stub.Predict(prepared[which], timeout=60)
            except grpc.RpcError as error:
                tally.num_failed += 1
                tally.problems.append(f"{error.code().name}: {error.details()}")
                time.sleep(RETRY_S)
                continue
            tally.latencies_s.append(time.perf_counter() - began_s)
            _judge(answer, expected, which, tally)
    return tally


def _judge(
    answer: Any, expected: dict[int, list[np.ndarray]], which: int, tally: ClientStats
) -> None:
    import tensorflow as tf

    version = answer.model_spec.version.value
    if version not in expected:
        raise ValueError(f"version {version} answered, which nobody asked to serve")
    tally.by_version[version] = tally.by_version.get(version, 0) + 1
    given = tf.make_ndarray(answer.outputs["probabilities"])
    wanted = expected[version][which]
    difference = float(np.abs(given - wanted).max()) if given.shape == wanted.shape else np.inf
    if not difference <= TOLERANCE:
        tally.num_wrong += 1
        tally.problems.append(f"batch {which}, version {version}: off by {difference:.2g}")


def predict_request(batch: Arrays) -> Any:
    """A `PredictRequest` of these inputs."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    asked = predict_pb2.PredictRequest()
    asked.model_spec.name = NAME
    for name, value in batch.items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked


# === All of them ===


class ClientPool:
    """Clients in processes of their own, which tell how they fare in a queue.

    A client says None once it is ready, then its tally, or in a string why it failed.

    Args:
      target: see `client`; called with its own arguments, a turn to begin with, and
        `ClientChannels`.
    Attributes:
      num_ready: clients that said None.
      tallies: of the clients that are done.
    """

    def __init__(self, target: Callable[..., None], arguments: Sequence[Any], num: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._said, self._go, self._over = context.Queue(), context.Event(), context.Event()
        signals = ClientChannels(self._go, self._over, self._said)
        self._processes = [
            context.Process(target=target, args=(*arguments, 7 * k, signals), daemon=True)
            for k in range(num)
        ]
        self.num_ready = 0
        self.tallies: list[ClientStats] = []

    def __enter__(self) -> ClientPool:
        for process in self._processes:
            process.start()
        self._wait(lambda: self.num_ready == len(self._processes))
        self._go.set()
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes:
            if raised[0] is not None:
                process.kill()
            process.join()

    def end(self) -> None:
        """Tells the clients to end and takes their tallies.

        Raises:
          RuntimeError: as `listen`.
        """
        self._over.set()
        self._wait(lambda: len(self.tallies) == len(self._processes))

    def _wait(self, is_done: Callable[[], bool]) -> None:
        until = time.monotonic() + CLIENT_S
        while not is_done():
            if time.monotonic() > until:
                raise RuntimeError(f"a client said nothing for {CLIENT_S:.0f} s")
            self.listen(0.2)

    def listen(self, seconds: float) -> None:
        """Receives the messages of a client for a limited time.

        Raises:
          RuntimeError: a client failed, for the reason that it gave, or died without one.
        """
        try:
            said = self._said.get(timeout=seconds)
        except queue.Empty:
            codes = [process.exitcode for process in self._processes]
            dead = [code for code in codes if code]
            if dead:
                raise RuntimeError(f"a client died with exit code {dead[0]}") from None
            return
        if isinstance(said, str):
            raise RuntimeError(f"a client failed: {said}")
        if said is None:
            self.num_ready += 1
        else:
            self.tallies.append(said)
