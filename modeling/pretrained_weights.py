"""Loads published weights: reads them by layer name, checks them, assigns them to our networks."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import keras
import numpy as np

from affectstream.core import lfs_pointer
from affectstream.core.errors import UserError

NO_WEIGHTS = "none"

# Layer name -> variable name ("kernel", "beta", ...) -> array.
LayerWeights = dict[str, dict[str, np.ndarray]]

_CHECKPOINT_KEY = re.compile(
    r"^(?:\w+/)*layer_with_weights-(\d+)/(\w+)/\.ATTRIBUTES/VARIABLE_VALUE$"
)

# === Reading ===


def read_h5_layers(path: Path) -> LayerWeights:
    """Layers of a Keras `.h5` file; `/` in their names becomes `_`.

    Raises:
      UserError: no such file, or not a Keras weights file.
    """
    import h5py

    if not path.is_file():
        raise UserError(f"{path}: not found; check the path, or train from scratch (weights=none)")
    lfs_pointer.require_not_pointer(path)
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers: LayerWeights = {}
            for name in map(_text, root.attrs["layer_names"]):
                group = root[name]
                stored = map(_text, group.attrs["weight_names"])
                arrays = {_variable(key): np.asarray(group[key]) for key in stored}
                if arrays:
                    layers[name.replace("/", "_")] = arrays
    except (OSError, KeyError) as error:
        raise UserError(
            f"{path}: no weights file of Keras ({str(error).splitlines()[0]}); fetch it again"
        ) from error
    return layers


def read_saved_model_layers(folder: Path, names: list[str]) -> LayerWeights:
    """Layers of a SavedModel that holds one Keras network.

    Args:
      folder: with `saved_model.pb` and `variables/`.
      names: its layers with weights, in order; the checkpoint numbers them.
    Raises:
      UserError: not a SavedModel, or one without Keras layers.
    """
    import tensorflow as tf

    if not (folder / "variables" / "variables.index").is_file():
        raise UserError(f"{folder}: no SavedModel (variables/variables.index is missing)")
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        matches = {key: _CHECKPOINT_KEY.match(key) for key in reader.get_variable_to_shape_map()}
        layers: LayerWeights = {}
        for key, match in matches.items():
            if match is not None and int(match[1]) < len(names):
                arrays = layers.setdefault(names[int(match[1])], {})
                arrays[_variable(match[2])] = reader.get_tensor(key)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{folder}: cannot be read ({first}); fetch it again") from error
    if not layers:
        raise UserError(f"{folder}: this SavedModel holds no layers of Keras; fetch another")
    return layers


def fetch_hub_folder(handle: str) -> Path:
    """Local folder of a TF-Hub handle, fetched into TF-Hub's cache if necessary.

    Raises:
      UserError: TF-Hub is not installed or the handle cannot be reached.
    """
    try:
        with warnings.catch_warnings():  # tensorflow-hub imports the deprecated pkg_resources
            warnings.simplefilter("ignore")
            import tensorflow_hub
    except ImportError:
        raise UserError(f"{handle}: needs `pip install tensorflow-hub`, or give a file") from None
    try:
        return Path(tensorflow_hub.resolve(handle))
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{handle}: cannot be fetched ({reason}); give a local file (weights=PATH) or train"
            " from scratch (weights=none)"
        ) from error


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _variable(key: str) -> str:
    """`layer1/conv/kernel:0` -> `kernel`; Keras 3 has no separate name for depthwise kernels."""
    name = key.rsplit("/", 1)[-1].removesuffix(":0")
    return "kernel" if name == "depthwise_kernel" else name


# === Assigning ===


def assign_layer_weights(model: keras.Model, layers: LayerWeights, source: object) -> None:
    """Assigns `layers` to the layers of `model` with the same names.

    Args:
      source: file or handle, for messages.
    Raises:
      UserError: a layer of `model` is missing or has another shape; then nothing is changed.
    """
    pairs = []
    for layer in layers_with_weights(model):
        if layer.name not in layers:
            raise UserError(
                f"{source}: has no layer {layer.name!r}; these are weights of another network than"
                f" {model.name}"
            )
        stored = layers[layer.name]
        for variable in layer.weights:
            value = stored.get(variable.name)
            if value is None or value.shape != tuple(variable.shape):
                has = "is missing" if value is None else f"has shape {value.shape}"
                raise UserError(
                    f"{source}: {variable.name} of layer {layer.name!r} {has}, expected"
                    f" {tuple(variable.shape)}; these are weights of another network"
                )
            pairs.append((variable, value))
    for variable, value in pairs:
        variable.assign(value)


def layers_with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of `model` that have weights, in order."""
    return [layer for layer in model.layers if layer.weights]
