"""Clients that ask the embedded server over gRPC for a while, a version being swapped meanwhile.

Every answer is compared with that of the version that gave it, computed beforehand without the
server (see `load_clients`). The bare model runs in this process while the server is idle, before
and after the load. Exit code 1: a target was missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report, served
from benchmarks.served import Arrays, RunningServer
from benchmarks.speed.load_clients import ClientPool, ClientStats, client

MIB = 2**20
MAX_MEMORY_GROWTH = 0.05
MIN_THROUGHPUT_RATIO = 0.7
NUM_ROWS = 96
# Shares of the time at which memory is read: once caches and allocators are filled, just before the
# second version comes, once the first is gone; and then at the end.
MEMORY_AT = (0.1, 0.3, 0.45)
# Longest wait for the second version to answer.
SWAP_S = 60.0
QUICK_S = 3.0


# === Load ===


@dataclass(frozen=True)
class Load:
    """Sum of all clients.

    Attributes:
      seconds: duration of the requests.
      memory_bytes: of the server with the first version, settled and at its end, and with the
        second, settled and at its end.
    """

    seconds: float
    tallies: list[ClientStats]
    memory_bytes: tuple[int, ...]

    @property
    def latencies_ms(self) -> np.ndarray:
        return np.array([s * 1000 for tally in self.tallies for s in tally.latencies_s])

    def total(self, name: str) -> int:
        return sum(getattr(tally, name) for tally in self.tallies)

    def answered_by(self) -> dict[int, int]:
        numbers = sorted({number for tally in self.tallies for number in tally.by_version})
        return {n: sum(tally.by_version.get(n, 0) for tally in self.tallies) for n in numbers}


def load(
    server: RunningServer,
    batches: list[Arrays],
    expected: dict[int, list[np.ndarray]],
    seconds: float,
    num_clients: int,
    swap: Callable[[], object],
) -> Load:
    """Lets the clients ask; `swap` puts version 2 there once a third of the time is over.

    They ask for `seconds`, and until version 2 has answered for a while or was waited for in vain.

    Raises:
      RuntimeError: a client failed.
    """
    with ClientPool(client, (server.grpc, batches, expected), num_clients) as crew:
        began_s = time.monotonic()
        memory: list[int] = []
        while (passed_s := time.monotonic() - began_s) < seconds:
            crew.listen(min(1.0, seconds / 20))
            while len(memory) < len(MEMORY_AT) and passed_s >= MEMORY_AT[len(memory)] * seconds:
                memory.append(server.memory_bytes())
                if len(memory) == 2:
                    swap()
        while passed_s < seconds + SWAP_S and not server.is_available(2):
            crew.listen(0.5)
            passed_s = time.monotonic() - began_s
        crew.listen(1.0)
        crew.end()
        asked_s = time.monotonic() - began_s
        return Load(asked_s, crew.tallies, (*memory, server.memory_bytes()))


class BareModel:
    """The model alone, called from one thread, at the batch of a request and at twice that.

    The server may run two requests of two clients as one batch: it is compared with the better.

    Args:
      rows: windows.
      batch: rows of a request.
      seconds: of one measurement at one size.
    Attributes:
      found: size of a batch -> windows a second, of each measurement.
    """

    def __init__(self, rows: Sequence[Arrays], batch: int, seconds: float) -> None:
        self._rows = rows
        self._seconds = seconds
        self.found: dict[int, list[float]] = {batch: [], 2 * batch: []}

    def measure(self, signature: Any) -> None:
        """Once at each size; the first pass over the batches is not counted."""
        import tensorflow as tf

        for size, found in self.found.items():
            batches = served.batches_of(self._rows, size)
            served.answers(signature, batches)
            prepared = [{k: tf.constant(v) for k, v in batch.items()} for batch in batches]
            num_rows, turn, began_s = 0, 0, time.perf_counter()
            while time.perf_counter() - began_s < self._seconds:
                made = signature(**prepared[turn % len(prepared)])["probabilities"].numpy()
                num_rows, turn = num_rows + len(made), turn + 1
            found.append(num_rows / (time.perf_counter() - began_s))

    @property
    def best(self) -> float:
        """Windows a second at the better size, mean of before and after."""
        return max(float(np.mean(found)) for found in self.found.values())

    def told(self) -> str:
        each = "; ".join(
            f"{' and '.join(f'{one:.1f}' for one in found)} at {size} rows"
            for size, found in self.found.items()
        )
        return (
            "The bare model ran in one thread before and after the load, the server being idle:"
            f" {each} (windows a second). The server may merge two requests into one batch, so it"
            " is compared with the better of the two sizes."
        )


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
    seconds = min(chosen.seconds, QUICK_S) if chosen.quick else chosen.seconds
    with report.work_folder(chosen.work) as work:
        home = served.fresh_home(work)
        served.copy_version(first, home, 1)
        asked = _prepared(first, second, chosen)
        bare = BareModel(asked.rows, chosen.batch, 0.3 if chosen.quick else 8.0)
        with served.serving(
            home, work / "server.log", ["--poll-s", "0.2" if chosen.quick else "1"]
        ) as server:
            bare.measure(asked.signatures[1])
            found = load(
                server,
                asked.batches,
                asked.expected,
                seconds,
                chosen.clients,
                lambda: served.copy_version(second, home, 2),
            )
            bare.measure(asked.signatures[2])
    lines = _lines(found, chosen.batch, bare)
    notes = [
        f"{asked.told}, {len(asked.rows)} windows as batches of {chosen.batch};"
        f" {chosen.clients} clients for {found.seconds:.0f} s; a second version put into the"
        f" folder after a third, whose answers differ by up to {asked.apart:.2g}. {bare.told()}",
        report.table(("what", "measured", "wanted", ""), lines),
    ]
    for problem in [p for tally in found.tallies for p in tally.problems][:5]:
        print(problem, file=sys.stderr)
    report.publish("Server under load", "serve_load", words, machine, notes, chosen)
    return served.exit_code(lines)


@dataclass(frozen=True)
class LoadRequests:
    """The requests of the clients, and the expected outputs.

    Attributes:
      rows: windows, a whole number of batches.
      batches: the same in batches.
      signatures: version -> `serving_default`.
      expected: version -> answer to each batch.
      told: description of the rows.
    """

    rows: list[Arrays]
    batches: list[Arrays]
    signatures: dict[int, Any]
    expected: dict[int, list[np.ndarray]]
    told: str

    @property
    def apart(self) -> float:
        """Largest difference between the versions' answers."""
        pairs = zip(self.expected[1], self.expected[2], strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)


def _prepared(first: Path, second: Path, chosen: Any) -> LoadRequests:
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.serving.export.savedmodel_export import load_saved_model, read_config

    saved = {1: load_saved_model(first), 2: load_saved_model(second)}
    signatures = {n: one.signatures["serving_default"] for n, one in saved.items()}
    _KEPT.append(saved)
    files, told = ([], "noise") if chosen.quick else served.recordings()
    rows = served.windows_of(read_config(first), files, chosen.weights_dir)
    if not rows:
        rows, told = served.noise(signatures[1], 4 * chosen.batch), "noise"
    num = -(-min(NUM_ROWS, len(rows)) // chosen.batch) * chosen.batch
    rows = [rows[k % len(rows)] for k in range(num)]
    batches = served.batches_of(rows, chosen.batch)
    expected = {n: served.answers(one, batches) for n, one in signatures.items()}
    return LoadRequests(rows, batches, signatures, expected, told)


# A signature does not keep its model alive.
_KEPT: list[Any] = []


def _lines(found: Load, batch: int, bare: BareModel) -> list[tuple[str, str, str, str]]:
    latencies = found.latencies_ms
    shown = [f"{np.percentile(latencies, q):.0f}" for q in (50, 95, 99) if len(latencies)]
    rate = len(latencies) * batch / found.seconds
    before, after = found.memory_bytes[:2], found.memory_bytes[2:]
    growth = max(late / early - 1 for early, late in (before, after))
    wrong, failed = found.total("num_wrong"), found.total("num_failed")
    answered = ", ".join(f"version {n}: {c:,}" for n, c in found.answered_by().items())
    return [
        (
            "requests answered",
            f"{len(latencies):,} ({answered})",
            "by both",
            report.verdict(len(found.answered_by()) == 2),
        ),
        ("p50 / p95 / p99 of a request", f"{' / '.join(shown)} ms", "", ""),
        ("windows a second over gRPC", f"{rate:.1f}", "", ""),
        (
            "share of the bare model",
            f"{rate / bare.best:.2f}",
            f">= {MIN_THROUGHPUT_RATIO}",
            report.verdict(rate / bare.best >= MIN_THROUGHPUT_RATIO),
        ),
        (
            "memory with version 1, then 2: settled and at the end",
            f"{_mib(before)}, then {_mib(after)} (at most {growth:+.1%})",
            f"< +{MAX_MEMORY_GROWTH:.0%}",
            report.verdict(growth < MAX_MEMORY_GROWTH),
        ),
        ("wrong answers", str(wrong), "0", report.verdict(wrong == 0)),
        ("failed requests", str(failed), "0", report.verdict(failed == 0)),
    ]


def _mib(sizes: Sequence[int]) -> str:
    return " and ".join(f"{size / MIB:.0f}" for size in sizes) + " MiB"


if __name__ == "__main__":
    raise SystemExit(main())
