"""Encoders and fusions use `keras.ops` only: on JAX they give what they give on TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from affectstream.core import registry
from tests import ROOT
from tests.modeling.encoders import test_encoder_contract
from tests.modeling.fusions import test_fusion_contract
from tests.support.models import save_arrays

pytestmark = pytest.mark.slow

STREAMS = ("audio", "video")

# Runs where KERAS_BACKEND is jax: builds each network anew, takes the weights, answers.
SCRIPT = """
import sys
import jax, keras, numpy as np
from affectstream.core import registry
from tests.support.encoder_cases import build as small

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
# One of the modules that need TensorFlow.
assert "affectstream.modeling.features.audio.window" not in sys.modules
"""


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {str(index): value for index, value in enumerate(model.get_weights())}


@pytest.fixture(scope="module")
def on_both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Name -> what TensorFlow and what JAX says to the same inputs."""
    folder = tmp_path_factory.mktemp("jax")
    answers: dict[str, dict[str, Any]] = {}
    for name in registry.names("encoders"):
        model, given = test_encoder_contract.build(name), test_encoder_contract.example(name)
        parts = given if isinstance(given, list) else [given]
        save_arrays(folder / f"{name}-inputs.npz", {str(i): part for i, part in enumerate(parts)})
        save_arrays(folder / f"{name}-weights.npz", weights_of(model))
        answers[name] = {"tensorflow": test_encoder_contract.answer(model, given)}
    for name in registry.names("fusions"):
        fusion = test_fusion_contract.build(name, STREAMS)
        given = test_fusion_contract.example({"audio": [1, 1, 0], "video": [1, 0, 1]})
        save_arrays(folder / f"{name}-inputs.npz", given)
        save_arrays(folder / f"{name}-weights.npz", weights_of(fusion))
        answers[name] = {"tensorflow": {"logits": test_fusion_contract.answer(fusion, given)}}
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
