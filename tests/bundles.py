"""What the tests of bundles share: exports without exporting, and what reads a bundle's files."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2


def copied(version: Path) -> Callable[..., Path]:
    """In place of `export`, which takes its time: an earlier version once more."""

    def export(run: Path, out: Path, number: int, text_input: str) -> Path:
        return shutil.copytree(version, out / str(number))

    return export


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("shipped_client", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def models_config(folder: Path) -> Any:
    text = (folder / "models.config").read_text(encoding="utf-8")
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    return config


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# === Requests ===


def arrays(request: Any) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


def shares(loaded: Any, inputs: dict[str, Any]) -> np.ndarray:
    given = {name: tf.constant(value) for name, value in inputs.items()}
    return loaded.signatures["serving_default"](**given)["probabilities"].numpy()
