"""What it costs `predict` to read recordings in another process: start, and seconds a clip."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from affectstream.parallel.isolated_worker import IsolatedWorker
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.windowing import WindowSettings
from affectstream.serving.inference.isolated_reader import start_reader_process
from affectstream.serving.inference.recognizer import Recognizer
from benchmarks import inputs, report

LABELS = ("calm", "other")


def recognizer_of(
    detector: str, weights_dir: Path | None, reader: IsolatedWorker | None = None
) -> Recognizer:
    """Reads and looks as any; its model gives the same answer to all, in no time."""
    config = {
        "streams": ["audio", "video"],
        "labels": list(LABELS),
        "input": {"sample_rate_hz": 16_000, "face_size_px": 112, "face_channels": 1},
        "preparation": inputs.default_settings(detector).as_json(),
        "windows": WindowSettings().as_json(),
        "synthetic": False,
        "leak_allowed": False,
    }

    def forward(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        same = np.full((len(batch["audio"]), len(LABELS)), 0.5, np.float32)
        names = ("probabilities", "audio_probabilities", "video_probabilities")
        return dict.fromkeys(names, same)

    return Recognizer(forward, config, weights_dir, reader=reader)


def spent(
    recognizer: Recognizer, paths: Sequence[Path], process: IsolatedWorker | None
) -> np.ndarray:
    """(2,) seconds by the clock and of CPU, of both processes, for all clips."""
    child: Any = psutil.Process(process.pid) if process is not None else None

    def cpu_s() -> float:
        times = child.cpu_times() if child is not None else None
        return time.process_time() + (times.user + times.system if times is not None else 0.0)

    began = np.array([time.perf_counter(), cpu_s()])
    for path in paths:
        recognizer(path)
    return np.array([time.perf_counter(), cpu_s()]) - began


def measure(
    detector: str, weights_dir: Path | None, paths: Sequence[Path], num_rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds here and elsewhere, the medians of rounds in turn, and those of a start; by the
    clock and of CPU each.
    """
    here = recognizer_of(detector, weights_dir)
    rounds: list[tuple[np.ndarray, np.ndarray]] = []
    began_s = time.perf_counter()
    with start_reader_process(TaskLimits()) as process:
        started_s = time.perf_counter() - began_s
        elsewhere = recognizer_of(detector, weights_dir, process)
        began_s = time.perf_counter() - started_s  # opening a detector is no part of the start
        elsewhere(paths[0])
        times = psutil.Process(process.pid).cpu_times()
        start = np.array([time.perf_counter() - began_s, times.user + times.system])
        here(paths[0])
        for _ in range(num_rounds):
            rounds.append((spent(here, paths, None), spent(elsewhere, paths, process)))
    one, two = np.median(rounds, axis=0)
    return one, two, start - two / len(paths)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--detector", default="haar")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(words)
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        paths = [one.path for one in clips]
        machine = report.machine()
        rounds = 1 if chosen.quick else chosen.rounds
        here, elsewhere, start = measure(chosen.detector, chosen.weights_dir, paths, rounds)
    columns = ["recordings are read", "ms/clip", "CPU ms/clip, both processes"]
    cells = [
        (where, *(f"{value / len(paths) * 1000:.0f}" for value in seconds))
        for where, seconds in (("in the program", here), ("in another process", elsewhere))
    ]
    note = (
        f"{origin}; detector {chosen.detector}, a model that takes no time; median of {rounds}"
        f" rounds in turn. A fresh process takes {start[0]:.1f} s to start, {start[1]:.1f} s of"
        " CPU, which `predict` has it do while the model loads."
    )
    parts = [note, report.table(columns, cells)]
    title = "Reading in another process"
    report.publish(title, "guarded_reading", words, machine, parts, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
