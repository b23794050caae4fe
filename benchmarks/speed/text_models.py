"""Texts a second in training and inference, and the time of one sentence, of every text recipe."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from affectstream.core import registry
from benchmarks import report
from benchmarks.inputs import data_folder
from benchmarks.speed.encoders import NUM_CLASSES, inference, seconds_of, training_step

BATCH, LARGE_BATCH = 32, 256
NUM_TEXTS = 4000
COLUMNS = (
    "recipe",
    "parameters",
    "training texts/s, batch 32",
    "inference texts/s, batch 256",
    "ms a sentence, batch 1",
)
# Widths of the large networks when it must only be shown that this runs.
QUICK = ("weights=none", "num_layers=1", "hidden_dim=16", "num_heads=2", "vocabulary_size=500")


def texts(count: int) -> tuple[list[str], str]:
    """Texts to read, and what they are."""
    root = data_folder()
    path = root / "text" / "emotion" / "train.txt" if root is not None else None
    if path is not None and path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()[1 : count + 1]
        return [line.rpartition(";")[0] for line in lines], "texts of the six-class set `emotion`"
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("aeiourstlnm"), 5)) for _ in range(600)]
    made = [" ".join(rng.choice(words, rng.integers(4, 30))) for _ in range(count)]
    return made, "SYNTHETIC texts of random words"


def build(name: str, corpus: list[str], is_quick: bool) -> Any:
    """The whole model of a recipe, from strings; nothing pretrained."""
    from affectstream.modeling.input_spec import InputSpec
    from affectstream.modeling.models.stream_model import build_stream_model

    recipe = registry.load("recipes", name)
    given: list[str] = []
    if recipe.features == "wordpieces":
        tiny = recipe.encoder == "tinybert"
        given = ["weights=none", "vocabulary_size=4000"]
        given = [*QUICK[:1], QUICK[-1]] if is_quick and tiny else list(QUICK) if is_quick else given
    recipe = dataclasses.replace(recipe, transforms="").with_settings(given)
    return build_stream_model(recipe, NUM_CLASSES, InputSpec(), corpus).whole


def strings(rows: list[str]) -> Any:
    """Texts as the input of a whole model."""
    import tensorflow as tf

    return {"text": tf.constant([row.encode() for row in rows])}


def measure_recipe(name: str, corpus: list[str], is_quick: bool) -> tuple[str, ...]:
    """One row of the table."""
    import keras

    keras.backend.clear_session()
    model = build(name, corpus, is_quick)
    network = model.get_layer("network")
    budget_s, min_calls = (0.0, 1) if is_quick else (2.0, 3)
    one = seconds_of(inference(model, strings(corpus[:1])), budget_s, min_calls)
    many = seconds_of(inference(model, strings(corpus[:LARGE_BATCH])), budget_s, min_calls)
    step = seconds_of(training_step(model, strings(corpus[:BATCH]), BATCH), budget_s, min_calls)
    return (
        name,
        f"{network.count_params():,}",
        f"{BATCH / step:.1f}",
        f"{min(LARGE_BATCH, len(corpus)) / many:.1f}",
        f"{one * 1000:.2f}",
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("names", nargs="*", help="recipes; all of text if none is given")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    machine = report.machine()
    corpus, told = texts(LARGE_BATCH if chosen.quick else NUM_TEXTS)
    known = [n for n in registry.names("recipes") if registry.entry("recipes", n).stream == "text"]
    rows = [measure_recipe(name, corpus, chosen.quick) for name in chosen.names or known]
    note = (
        f"Untrained weights, {told}, from strings (the tokeniser is part of the model), vocabulary"
        f" of {len(corpus):,} of them, of 4,000 pieces at most for BERT's kin; float32; median over"
        " the calls."
    )
    text = report.table(COLUMNS, rows)
    report.publish("Text models", "text_models", words, machine, [note, text], chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
