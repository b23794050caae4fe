"""Seconds from typing `predict` to the answer for a short wav: LiteRT beside TensorFlow."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from affectstream.serving.inference.litert_model import is_litert
from benchmarks import report

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ, WAV_S = 16_000, 3.0
LITERT = "LiteRT"
# Wall time within which a `.tflite` is to answer.
TARGET_S = 2.0
COLUMNS = ("model", "form", "first, s", "median, s", "fastest, s", "times LiteRT's")


def write_wav(path: Path) -> Path:
    """Three seconds of a tone in noise, 16-bit."""
    at_s = np.arange(round(RATE_HZ * WAV_S)) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, 0.01, len(at_s))
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 220 * at_s) + noise, RATE_HZ)
    return path


def seconds(model: Path, wav: Path) -> float:
    """Wall time of one `predict` in a process of its own.

    Raises:
      RuntimeError: it failed.
    """
    words = [sys.executable, "cli.py", "predict", "--model", str(model.resolve()), str(wav)]
    began_s = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{model}: {done.stderr.strip()}")
    return time.perf_counter() - began_s


def form(model: Path) -> str:
    """What kind of model a path is."""
    if is_litert(model):
        return LITERT
    return "run" if (model / "run.json").is_file() else "SavedModel"


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("models", nargs="+", type=Path, help="runs, exports and .tflite of one run")
    parser.add_argument("--wav", type=Path, help="in place of three seconds of a tone")
    parser.add_argument("--rounds", type=int, default=5, help="processes a model, in turn")
    chosen = parser.parse_args(words)
    machine = report.machine()
    rounds = 1 if chosen.quick else chosen.rounds
    times: dict[Path, list[float]] = {model: [] for model in chosen.models}
    with report.work_folder(chosen.work) as work:
        wav = chosen.wav.resolve() if chosen.wav else write_wav(work.resolve() / "tone.wav")
        for _ in range(rounds):  # in turn, so that the load of others falls on all alike
            for model in chosen.models:
                times[model].append(seconds(model, wav))
    medians = {model: report.median(taken) for model, taken in times.items()}
    quickest = min((s for model, s in medians.items() if form(model) == LITERT), default=None)
    rows = [
        (
            model.name,
            form(model),
            *(f"{value:.2f}" for value in (taken[0], medians[model], min(taken))),
            f"{medians[model] / quickest:.1f}" if quickest else "",
        )
        for model, taken in times.items()
    ]
    parts = [
        f"Wall time of `predict --model MODEL {wav.name}` in a fresh process, {rounds} of each.",
        report.table(COLUMNS, rows),
    ]
    if quickest is not None:
        met = report.verdict(quickest < TARGET_S)
        parts.append(f"LiteRT below {TARGET_S:g} s: {quickest:.2f} s, {met}.")
    report.publish("Cold start", "cold_start", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
