"""Encoders and fusions use `keras.ops` only: on JAX they give what they give on TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import registry
from tests import test_encoders, test_fusions
from tests.models import save_arrays

ROOT = Path(__file__).resolve().parent.parent
STREAMS = ("audio", "video")

# Runs where KERAS_BACKEND is jax: builds each network anew, takes the weights, answers.
SCRIPT = """
import sys
import jax, keras, numpy as np
import registry
from tests.encoder_cases import build as small

assert keras.backend.backend() == "jax", keras.backend.backend()
folder = sys.argv[1]
for kind in ("encoders", "fusions"):
    for name in registry.names(kind):
        given = dict(np.load(f"{folder}/{name}-inputs.npz"))
        weights = dict(np.load(f"{folder}/{name}-weights.npz"))
        build = registry.load(kind, name)
        if kind == "encoders":
            model = small(name, 4, 6)
            inputs = [given[key] for key in sorted(given)]
            inputs = inputs[0] if len(inputs) == 1 else inputs
        else:
            model = build(("audio", "video"), 4, {"audio": 5, "video": 3})
            inputs = given
        model.set_weights([weights[str(index)] for index in range(len(weights))])
        made = jax.jit(lambda inputs: model(inputs, training=False))(inputs)
        np.savez(f"{folder}/{name}-jax.npz", **{k: np.asarray(v) for k, v in made.items()})
assert "modeling.features.window" not in sys.modules  # one of those that need TensorFlow
"""


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {str(index): value for index, value in enumerate(model.get_weights())}


@pytest.fixture(scope="module")
def on_both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Name -> what TensorFlow and what JAX says to the same inputs."""
    folder = tmp_path_factory.mktemp("jax")
    answers: dict[str, dict[str, Any]] = {}
    for name in registry.names("encoders"):
        model, given = test_encoders.build(name), test_encoders.example(name)
        parts = given if isinstance(given, list) else [given]
        save_arrays(folder / f"{name}-inputs.npz", {str(i): part for i, part in enumerate(parts)})
        save_arrays(folder / f"{name}-weights.npz", weights_of(model))
        answers[name] = {"tensorflow": test_encoders.answer(model, given)}
    for name in registry.names("fusions"):
        fusion = test_fusions.build(name, STREAMS)
        given = test_fusions.example({"audio": [1, 1, 0], "video": [1, 0, 1]})
        save_arrays(folder / f"{name}-inputs.npz", given)
        save_arrays(folder / f"{name}-weights.npz", weights_of(fusion))
        answers[name] = {"tensorflow": {"logits": test_fusions.answer(fusion, given)}}
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, answer in answers.items():
        answer["jax"] = dict(np.load(folder / f"{name}-jax.npz"))
    return answers


@pytest.mark.parametrize("name", [*registry.names("encoders"), *registry.names("fusions")])
def test_jax_says_the_same(name: str, on_both: dict[str, dict[str, Any]]) -> None:
    on_jax, on_tensorflow = on_both[name]["jax"], on_both[name]["tensorflow"]
    assert set(on_jax) == set(on_tensorflow)
    for key, value in on_tensorflow.items():
        np.testing.assert_allclose(on_jax[key], value, atol=1e-4, rtol=1e-5)
