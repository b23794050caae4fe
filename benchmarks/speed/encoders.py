"""Parameters, training clips per second and inference time of every audio and video encoder."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from benchmarks import report

NUM_CLASSES = 7
BATCH, SMALL_BATCH, QUICK_BATCH = 32, 8, 2
# Encoders with more weights than this train on the smaller batch.
MANY_PARAMETERS = 20_000_000
NUM_FRAMES = 16

# Features of each stream, at full and at quick size; an encoder takes the first that it accepts.
SHAPES: dict[str, tuple[tuple[tuple[int | None, ...], tuple[int | None, ...]], ...]] = {
    "audio": (
        ((128, 282, 1), (64, 64, 1)),
        ((6, 96, 64), (1, 96, 64)),
        ((94, 52), (8, 13)),
        ((276,), (32,)),
    ),
    "video": (
        ((None, 112, 112, 1), (None, 32, 32, 1)),
        ((None, 52), (None, 17)),
    ),
}
COLUMNS = ("encoder", "features", "parameters", "training clips/s", "batch", "ms, batch 1")


@dataclass(frozen=True)
class EncoderExample:
    """An untrained encoder and examples for it.

    Attributes:
      shape: of its features.
    """

    model: Any
    shape: tuple[int | None, ...]

    def example(self, num_rows: int, num_frames: int) -> Any:
        """Inputs of `num_rows` clips in which all frames count."""
        import tensorflow as tf

        shape = [num_frames if size is None else size for size in self.shape]
        values = np.random.default_rng(0).normal(size=(num_rows, *shape)).astype(np.float32)
        if len(self.model.inputs) == 1:
            return tf.constant(values)
        return [tf.constant(values), tf.ones((num_rows, shape[0]), tf.bool)]


def build(name: str, is_quick: bool) -> EncoderExample:
    """The encoder on the features that it takes; pretrained ones start from nothing.

    Raises:
      UserError: it takes none of `SHAPES`.
    """
    builder = registry.load("encoders", name)
    settings = {"weights": "none"} if "weights" in inspect.signature(builder).parameters else {}
    for full, quick in SHAPES[registry.entry("encoders", name).stream]:
        shape = quick if is_quick else full
        try:
            return EncoderExample(builder(shape, NUM_CLASSES, **settings), shape)
        except UserError:
            continue
    raise UserError(f"encoder {name!r}: none of the shapes of this benchmark fits it; add one")


# === Measuring ===


def training_step(model: Any, given: Any, num_rows: int) -> Callable[[], Any]:
    """One step of Adam on one batch, in a graph.

    Args:
      given: inputs of `model`, of `num_rows` rows.
    """
    import keras
    import tensorflow as tf

    truth = tf.constant(np.arange(num_rows) % NUM_CLASSES)
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = model(given, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    return lambda: step().numpy()


def inference(model: Any, given: Any) -> Callable[[], Any]:
    """One forward pass, in a graph."""
    import tensorflow as tf

    forward = tf.function(lambda: model(given, training=False)["logits"])
    return lambda: forward().numpy()


def seconds_of(call: Callable[[], Any], budget_s: float, min_calls: int) -> float:
    """Median seconds of a call, without the first."""
    call()
    times: list[float] = []
    began_s = time.perf_counter()
    while len(times) < min_calls or time.perf_counter() - began_s < budget_s:
        start_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_s)
    return report.median(times)


def measure_encoder(name: str, is_quick: bool) -> tuple[str, ...]:
    """One row of the table."""
    import keras

    keras.backend.clear_session()
    built = build(name, is_quick)
    num_parameters = built.model.count_params()
    num_frames = 2 if is_quick else NUM_FRAMES
    is_big = num_parameters > MANY_PARAMETERS or built.shape[0] is None
    num_rows = QUICK_BATCH if is_quick else SMALL_BATCH if is_big else BATCH
    budget_s, min_calls = (0.0, 1) if is_quick else (2.0, 3)
    inferred = [
        seconds_of(inference(built.model, built.example(rows, num_frames)), budget_s, min_calls)
        for rows in (1, QUICK_BATCH if is_quick else BATCH)
    ]
    batch = built.example(num_rows, num_frames)
    step_s = seconds_of(training_step(built.model, batch, num_rows), budget_s, min_calls)
    shape = " x ".join(str(num_frames if size is None else size) for size in built.shape)
    return (
        name,
        shape,
        f"{num_parameters:,}",
        f"{num_rows / step_s:.1f}",
        str(num_rows),
        *(f"{seconds * 1000:.1f}" for seconds in inferred),
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("names", nargs="*", help="encoders; all of sound and face if none is given")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    machine = report.machine()
    known = [
        n for n in registry.names("encoders") if registry.entry("encoders", n).stream in SHAPES
    ]
    rows = [measure_encoder(name, chosen.quick) for name in chosen.names or known]
    note = (
        "Untrained weights, random features, float32; median over the calls. Training is one step"
        f" of Adam on the batch named; face streams have {NUM_FRAMES} frames a clip."
        if not chosen.quick
        else "Tiny features and batches: shows that it runs, the figures mean nothing."
    )
    columns = (*COLUMNS, f"ms, batch {QUICK_BATCH if chosen.quick else BATCH}")
    text = report.table(columns, rows)
    report.publish("Encoders", "encoders", words, machine, [note, text], chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
