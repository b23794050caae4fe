"""Windows a second by the size of a batch, by which `serve --max-batch-rows` has its default.

Every round runs the same windows at every size, in as many threads as the server has for batches:
what else the machine does meanwhile falls on all sizes alike. So compare the ratios of a round.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectstream.server.versions.batching import NUM_THREADS
from benchmarks import report, served
from benchmarks.served import Arrays

SIZES = (1, 2, 4, 8, 16, 32)
# Of one turn: a batch of the largest size for each thread.
NUM_ROWS = NUM_THREADS * SIZES[-1]
WINDOW_S = 3.0
MIN_ROUNDS = 3


def rates(signature: Any, rows: Sequence[Arrays], seconds: float) -> dict[int, list[float]]:
    """Size of a batch -> rows a second, of each round; rounds until `seconds` are over."""
    import tensorflow as tf

    prepared = {
        size: [
            {name: tf.constant(value) for name, value in batch.items()}
            for batch in served.batches_of(rows, size)
        ]
        for size in SIZES
    }
    for size in SIZES:  # the first pass of each is slower
        _turn(signature, prepared[size][:NUM_THREADS])
    found: dict[int, list[float]] = {size: [] for size in SIZES}
    began_s, order = time.perf_counter(), list(SIZES)
    while len(found[1]) < MIN_ROUNDS or time.perf_counter() - began_s < seconds:
        for size in order:
            found[size].append(len(rows) / _turn(signature, prepared[size]))
        order.reverse()
    return found


def _turn(signature: Any, batches: Sequence[dict[str, Any]]) -> float:
    """Seconds for all batches, each thread taking the next."""
    left = iter(batches)
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                batch = next(left, None)
            if batch is None:
                return
            signature(**batch)["probabilities"].numpy()

    threads = [threading.Thread(target=work) for _ in range(NUM_THREADS)]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began_s


# === Report ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="export or bundle")
    parser.add_argument("--seconds", type=float, default=120.0)
    chosen = parser.parse_args(words)
    machine = report.machine()
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.serving.export.savedmodel_export import load_saved_model, read_config

    version = served.versions_of(chosen.model)[-1]
    config, saved = read_config(version), load_saved_model(version)
    signature = saved.signatures["serving_default"]
    samples = round(WINDOW_S * config["input"].get("sample_rate_hz", 0))
    frames = config["preparation"].get("sampling", {}).get("num_frames", 1)
    rows = served.noise(signature, NUM_ROWS, samples, frames)
    found = rates(signature, rows, 0.0 if chosen.quick else chosen.seconds)
    streams = " and ".join(config["streams"])
    notes = [
        f"{len(found[1])} rounds of {NUM_ROWS} windows of {WINDOW_S:g} s of noise, {streams}, in"
        f" {NUM_THREADS} threads as the server runs batches; each round at every size, forwards and"
        " backwards in turn. Ratios are to one row a batch in the same round: median, lowest and"
        " highest.",
        report.table(("rows a batch", "windows/s", "ratio", "from", "to"), _lines(found)),
    ]
    report.publish("Size of a batch", "batch_size", words, machine, notes, chosen.out)
    return 0


def _lines(found: dict[int, list[float]]) -> list[tuple[str, ...]]:
    lines = []
    for size, values in found.items():
        ratios = [value / one for value, one in zip(values, found[1], strict=True)]
        shown = (report.median(ratios), min(ratios), max(ratios))
        rate = f"{report.median(values):.1f}"
        lines.append((str(size), rate, *(f"{ratio:.2f}" for ratio in shown)))
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
