"""Milliseconds a clip of every transform: 3 s of sound at 16 kHz, 16 faces of 112x112."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from affectstream.core import registry
from affectstream.data_augmentation.transform import AudioTransform, VideoTransform
from benchmarks import report

RATE_HZ = 16_000
DURATION_S = 3.0
NUM_FACES, SIDE_PX = 16, 112
NUM_WORDS = 20
BATCH = 32
NUM_CLASSES = 7
SPECTROGRAM = (128, 282)

# === One call of each kind ===


def one_call(name: str, rng: np.random.Generator) -> tuple[Callable[[], Any], int, str]:
    """A call that transforms once, how many clips that is, and what they are."""
    made = registry.load("transforms", name)
    if inspect.isclass(made) and issubclass(made, AudioTransform | VideoTransform):
        transform = made(probability=1.0)
        if isinstance(transform, AudioTransform):
            wave = (0.1 * rng.standard_normal(round(RATE_HZ * DURATION_S))).astype(np.float32)
            return (lambda: _audio(transform, rng, wave)), 1, f"{DURATION_S:g} s of sound"
        faces = _faces(rng, NUM_FACES)
        return (lambda: _changed(transform, rng, faces)), 1, f"{NUM_FACES} faces"
    if made.stream == "text":
        words = " ".join(f"word{number}" for number in range(NUM_WORDS))
        transform = made(probability=1.0)
        return (lambda: _changed(transform, rng, words)), 1, f"{NUM_WORDS} words"
    if made.stream == "batch":
        return _batch(made(), rng), BATCH, f"{BATCH} clips, sound and faces"
    return _features(made(), rng), BATCH, f"{BATCH} spectrograms, in the graph"


def _audio(transform: Any, rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    return transform.apply(wave, RATE_HZ, **transform.sample(rng, wave, RATE_HZ))


def _changed(transform: Any, rng: np.random.Generator, signal: Any) -> Any:
    return transform.apply(signal, **transform.sample(rng, signal))


def _faces(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, SIDE_PX, SIDE_PX, 1)).astype(np.uint8)


def _batch(transform: Any, rng: np.random.Generator) -> Callable[[], Any]:
    num_samples = round(RATE_HZ * DURATION_S)
    faces = _faces(rng, BATCH * NUM_FACES).reshape(BATCH, NUM_FACES, SIDE_PX, SIDE_PX, 1)
    batch = {
        "audio": (0.1 * rng.standard_normal((BATCH, num_samples))).astype(np.float32),
        "audio_length": np.full(BATCH, num_samples, np.int32),
        "video": faces,
        "video_mask": np.ones((BATCH, NUM_FACES), bool),
    }
    labels = np.eye(NUM_CLASSES, dtype=np.float32)[rng.integers(NUM_CLASSES, size=BATCH)]
    return lambda: transform.apply(batch, labels, **transform.sample(rng, BATCH))


def _features(layer: Any, rng: np.random.Generator) -> Callable[[], Any]:
    import tensorflow as tf

    pictures = tf.constant(rng.standard_normal((BATCH, *SPECTROGRAM, 1)).astype(np.float32))
    call = tf.function(lambda values: layer(values, training=True))
    return lambda: call(pictures).numpy()


# === Measuring ===


def measure(call: Callable[[], Any], budget_s: float) -> tuple[float, int]:
    """Median seconds of a call, and how many were made."""
    call()
    times: list[float] = []
    began_s = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began_s < budget_s:
        start_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_s)
    return report.median(times), len(times)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    chosen = report.parser(__doc__).parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    machine = report.machine()
    rows = []
    for name in registry.names("transforms"):
        call, num_clips, what = one_call(name, np.random.default_rng(0))
        seconds, count = measure(call, 0.02 if chosen.quick else 2.0)
        rows.append((name, what, f"{seconds / num_clips * 1000:.2f}", count))
    text = report.table(("transform", "of", "ms/clip", "calls"), rows)
    note = "Default settings, always applied, drawing included; median over the calls."
    report.publish("Transforms", "transforms", words, machine, [note, text], chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
