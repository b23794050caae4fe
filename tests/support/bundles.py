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


def copy_export(version: Path) -> Callable[..., Path]:
    """In place of `export`, which takes its time: an earlier version once more."""

    def export(run: Path, out: Path, number: int, text_input: str) -> Path:
        return shutil.copytree(version, out / str(number))

    return export


def copy_with_other_weights(version: Path, target: Path) -> Path:
    """A copy that answers otherwise, its kernels being smaller; it appears whole.

    Args:
      target: its folder, the name being its number; beside the folder of versions it is written.
    """
    hidden = target.parent.with_name(f"{target.parent.name}-{target.name}-coming")
    shutil.copytree(version, hidden)
    prefix = str(hidden / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names]
    changed = [
        (value * 0.5).astype(value.dtype) if _is_kernel(value) else value for value in values
    ]
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=changed
    )
    return hidden.rename(target)


def _is_kernel(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim > 1


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
