"""Clients that ask the embedded server over gRPC for a while, a version being swapped meanwhile.

Each client is a process made only of tensorflow-serving-api. Every answer is compared with that of
the version that gave it, computed beforehand without the server. The bare model runs in this
process while the server is idle, before and after the load, at the same batch.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report, served
from benchmarks.served import NAME, TOLERANCE, Arrays, Served

MIB = 2**20
MAX_MEMORY_GROWTH = 0.05
MIN_THROUGHPUT_RATIO = 0.7
NUM_ROWS = 96
# Caches and allocators fill up first; memory is compared from then on.
SETTLE_SHARE = 0.2


@dataclass
class Tally:
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


def client(
    address: str,
    batches: list[Arrays],
    expected: dict[int, list[np.ndarray]],
    seconds: float,
    offset: int,
    ready: Any,
    results: Any,
) -> None:
    """Asks until the time is over, one request after the other."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    prepared = []
    for batch in batches:
        asked = predict_pb2.PredictRequest()
        asked.model_spec.name = NAME
        for name, value in batch.items():
            asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        prepared.append(asked)
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    tally = Tally()
    with grpc.insecure_channel(address, options=unlimited) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        ready.wait()
        until = time.monotonic() + seconds
        turn = offset
        while time.monotonic() < until:
            which = turn % len(prepared)
            turn += 1
            began_s = time.perf_counter()
            try:
                answer = stub.Predict(prepared[which], timeout=60)
            except grpc.RpcError as error:
                tally.num_failed += 1
                tally.problems.append(f"{error.code().name}: {error.details()}")
                continue
            tally.latencies_s.append(time.perf_counter() - began_s)
            version = answer.model_spec.version.value
            tally.by_version[version] = tally.by_version.get(version, 0) + 1
            given = tf.make_ndarray(answer.outputs["probabilities"])
            difference = float(np.abs(given - expected[version][which]).max())
            if not difference <= TOLERANCE:
                tally.num_wrong += 1
                tally.problems.append(f"batch {which}, version {version}: off by {difference:.2g}")
    results.put(tally)


# === Load ===


@dataclass(frozen=True)
class Load:
    """Sum of all clients.

    Attributes:
      memory_bytes: of the server, once settled and at the end.
    """

    seconds: float
    tallies: list[Tally]
    memory_bytes: tuple[int, int]

    @property
    def latencies_ms(self) -> np.ndarray:
        return np.concatenate([np.array(t.latencies_s) for t in self.tallies]) * 1000

    def total(self, name: str) -> int:
        return sum(getattr(tally, name) for tally in self.tallies)

    def answered_by(self) -> dict[int, int]:
        numbers = sorted({number for tally in self.tallies for number in tally.by_version})
        return {n: sum(tally.by_version.get(n, 0) for tally in self.tallies) for n in numbers}


def load(
    server: Served,
    batches: list[Arrays],
    expected: dict[int, list[np.ndarray]],
    seconds: float,
    num_clients: int,
    at_half: Any = None,
) -> Load:
    """Lets the clients ask; `at_half` is called once half of the time is over."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(num_clients + 1), context.Queue()
    clients = [
        context.Process(
            target=client, args=(server.grpc, batches, expected, seconds, 7 * k, ready, results)
        )
        for k in range(num_clients)
    ]
    for process in clients:
        process.start()
    ready.wait(120)
    began_s = time.monotonic()
    settled = 0
    while time.monotonic() - began_s < seconds:
        time.sleep(min(1.0, seconds / 20))
        passed = (time.monotonic() - began_s) / seconds
        if not settled and passed >= SETTLE_SHARE:
            settled = server.memory_bytes()
        if at_half is not None and passed >= 0.5:
            at_half()
            at_half = None
    tallies = [results.get(timeout=120) for _ in clients]
    for process in clients:
        process.join(60)
    return Load(seconds, tallies, (settled, server.memory_bytes()))


def bare_rows_a_second(signature: Any, batches: Sequence[Arrays], seconds: float) -> float:
    """Rows a second of the model alone, called from one thread."""
    import tensorflow as tf

    prepared = [{k: tf.constant(v) for k, v in batch.items()} for batch in batches]
    rows, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        for batch in prepared:
            rows += signature(**batch)["probabilities"].numpy().shape[0]
            if time.perf_counter() - began_s >= seconds:
                break
    return rows / (time.perf_counter() - began_s)


# === Report ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="export or bundle")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="rows a request")
    chosen = parser.parse_args(words)
    machine = report.machine()
    versions = served.versions_of(chosen.model)
    first, second = versions[0], versions[-1]
    with report.work_folder(chosen.work) as work:
        home = work / "served" / NAME
        served.place(first, home, 1)
        batches, signatures, told = _prepared(first, second, chosen)
        expected = {n: served.answers(s, batches) for n, s in signatures.items()}
        apart = max(
            float(np.abs(a - b).max()) for a, b in zip(expected[1], expected[2], strict=True)
        )
        bare_s = 1.0 if chosen.quick else 15.0
        with served.serving(home, work / "server.log", ["--poll-s", "1"]) as server:
            bare = [bare_rows_a_second(signatures[1], batches, bare_s)]
            seconds, num = chosen.seconds, chosen.clients
            found = load(
                server, batches, expected, seconds, num, lambda: served.place(second, home, 2)
            )
            bare.append(bare_rows_a_second(signatures[2], batches, bare_s))
    lines = _lines(found, chosen.batch, float(np.mean(bare)))
    notes = [
        f"{told}, {sum(len(next(iter(b.values()))) for b in batches)} windows as batches of"
        f" {chosen.batch}; {num} clients for {seconds:.0f} s; a second version put into the folder"
        f" at half time, whose answers differ by up to {apart:.2g}. The bare model ran before and"
        f" after the load, the server being idle: {bare[0]:.1f} and {bare[1]:.1f} windows a"
        " second.",
        report.table(("what", "measured", "wanted", ""), lines),
    ]
    for problem in [p for tally in found.tallies for p in tally.problems][:5]:
        print(problem, file=sys.stderr)
    report.publish("Server under load", "serve_load", words, machine, notes, chosen.out)
    return 0


def _prepared(first: Path, second: Path, chosen: Any) -> tuple[list[Arrays], dict[int, Any], str]:
    """Batches to ask with, the two versions' own signatures, and what the batches are."""
    import quiet

    quiet.import_tensorflow()
    from serving.export import read_config, read_saved

    saved = {1: read_saved(first), 2: read_saved(second)}
    signatures = {n: one.signatures["serving_default"] for n, one in saved.items()}
    _KEPT.append(saved)
    files, told = ([], "noise") if chosen.quick else served.recordings()
    rows = served.windows_of(read_config(first), files, chosen.weights_dir)
    rows = rows or served.noise(signatures[1], 4 * chosen.batch)
    rows = [
        rows[k % len(rows)]
        for k in range(-(-min(NUM_ROWS, len(rows)) // chosen.batch) * chosen.batch)
    ]
    pieces = [rows[k : k + chosen.batch] for k in range(0, len(rows), chosen.batch)]
    return [served.stacked(piece) for piece in pieces], signatures, told


# A signature does not keep its model alive.
_KEPT: list[Any] = []


def _lines(found: Load, batch: int, bare: float) -> list[tuple[str, str, str, str]]:
    latencies = found.latencies_ms
    p50, p95, p99 = (float(np.percentile(latencies, q)) for q in (50, 95, 99))
    rate = len(latencies) * batch / found.seconds
    early, late = found.memory_bytes
    growth = late / early - 1
    wrong, failed = found.total("num_wrong"), found.total("num_failed")
    answered = ", ".join(f"version {n}: {c:,}" for n, c in found.answered_by().items())
    return [
        (
            "requests answered",
            f"{len(latencies):,} ({answered})",
            "by both",
            report.verdict(len(found.answered_by()) == 2),
        ),
        ("p50 / p95 / p99 of a request", f"{p50:.0f} / {p95:.0f} / {p99:.0f} ms", "", ""),
        ("windows a second over gRPC", f"{rate:.1f}", "", ""),
        (
            "share of the bare model",
            f"{rate / bare:.2f}",
            f">= {MIN_THROUGHPUT_RATIO}",
            report.verdict(rate / bare >= MIN_THROUGHPUT_RATIO),
        ),
        (
            "memory, settled and at the end",
            f"{early / MIB:.0f}, {late / MIB:.0f} MiB ({growth:+.1%})",
            f"< +{MAX_MEMORY_GROWTH:.0%}",
            report.verdict(growth < MAX_MEMORY_GROWTH),
        ),
        ("wrong answers", str(wrong), "0", report.verdict(wrong == 0)),
        ("failed requests", str(failed), "0", report.verdict(failed == 0)),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
