"""`export`: a run -> one SavedModel from raw waveform and face crops to probabilities."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import storage
from errors import UserError
from modeling.inference import client_config, inference_model, load_run
from modeling.run_folder import RunInfo
from modeling.token_model import TOKEN_IDS, token_model, vocabulary_of

LABELS_ASSET = "labels.txt"
VOCABULARY_ASSET = "vocabulary.txt"
TEXT_INPUTS = ("string", TOKEN_IDS)
CONFIG_ASSET = "config.json"
TOLERANCE = 1e-5


class ServedModel(tf.Module):
    """What is saved: a signature over named inputs, with labels and config as assets.

    Inputs, those that the model has: `audio` (B, samples) float32 at the model's rate,
    `audio_length` (B,) int32, `video` (B, T, H, W, C) uint8 face crops or (B, T, units) float32
    action units, `video_mask` (B, T) bool. A stream is missing for a row when its length is 0 or
    its mask all 0. A model of words takes `text` (B,) string, missing where it is empty; where its
    words are tokens, the signature `token_ids` takes `token_ids` (B, T) int32 in its place (0
    behind the last, all 0: missing; numbers are the lines of `assets/vocabulary.txt`, from 0).
    Outputs: `probabilities` (B, classes) float32, `label` (B,) string, `embedding` (B, D) float32,
    and for each stream `STREAM_probabilities` (B, classes), what it alone would say.
    """

    def __init__(self, models: dict[str, keras.Model], labels: list[str], assets: Path) -> None:
        super().__init__()
        self.models = models
        self.class_names = tf.constant(labels)
        self.labels_asset = tf.saved_model.Asset(str(assets / LABELS_ASSET))
        self.config_asset = tf.saved_model.Asset(str(assets / CONFIG_ASSET))
        if (assets / VOCABULARY_ASSET).is_file():
            self.vocabulary_asset = tf.saved_model.Asset(str(assets / VOCABULARY_ASSET))
        self.served = {name: self._serving(model) for name, model in models.items()}

    def _serving(self, model: keras.Model) -> Any:
        specs = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
            for name, tensor in model.input.items()
        }

        def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return self._serve(model, inputs)

        return tf.function(serve, input_signature=[specs])

    def _serve(self, model: keras.Model, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        made = model(inputs, training=False)
        label = tf.gather(self.class_names, tf.argmax(made["probabilities"], axis=1))
        return {**made, "label": label}


def export(
    run: Path, out: Path, version: int | None = None, text_input: str = TEXT_INPUTS[0]
) -> Path:
    """Writes `out/VERSION/`, checked against the Keras model before it becomes visible.

    Args:
      out: folder of versions, as TensorFlow Serving reads it.
      version: the next free number when None.
      text_input: of a model of words, "string", or "token_ids" to leave the tokeniser out, so that
        a server needs no operations of TensorFlow Text.
    Returns:
      the folder written.
    Raises:
      UserError: the version exists, the run is unfinished, or the saved model answers differently.
    """
    model, info = load_run(run)
    target = out / str(version if version is not None else _next_version(out))
    if target.exists():
        raise UserError(
            f"{target}: exists already; versions are never overwritten, leave --version out"
        )
    models = _served(model, info, text_input)
    config = client_config(info) | {"run": str(run)}
    if "text" in info.streams:
        config["text_input"] = text_input
    with tempfile.TemporaryDirectory() as folder, storage.replacing(target) as temporary:
        assets = Path(folder)
        (assets / LABELS_ASSET).write_text("\n".join(info.labels) + "\n", encoding="utf-8")
        (assets / CONFIG_ASSET).write_text(json.dumps(config, indent=1), encoding="utf-8")
        if vocabulary := vocabulary_of(model, info.streams) if "text" in info.streams else []:
            text = "".join(f"{token}\n" for token in vocabulary)
            (assets / VOCABULARY_ASSET).write_text(text, encoding="utf-8")
        served = ServedModel(models, list(info.labels), assets)
        tf.saved_model.save(served, str(temporary), signatures=served.served)
        for signature, inference in models.items():
            check_equal(inference, temporary, signature)
    return target


def _served(model: keras.Model, info: RunInfo, text_input: str) -> dict[str, keras.Model]:
    """What each signature answers with."""
    whole = {"serving_default": inference_model(model, info)}
    of_tokens = token_model(model, info.streams) if "text" in info.streams else None
    if of_tokens is not None:
        by_ids = inference_model(of_tokens, info)
        return (
            {"serving_default": by_ids} if text_input == TOKEN_IDS else whole | {TOKEN_IDS: by_ids}
        )
    if text_input == TOKEN_IDS:
        raise UserError(f"--text-input {TOKEN_IDS}: this model takes no tokens of a text")
    return whole


def _next_version(out: Path) -> int:
    taken = (
        [int(path.name) for path in out.glob("*") if path.name.isdigit()] if out.is_dir() else []
    )
    return max(taken, default=0) + 1


def check_equal(model: keras.Model, saved: Path, name: str = "serving_default") -> None:
    """Runs model and SavedModel on the same ragged batch, with streams missing here and there.

    Raises:
      UserError: any output differs by more than 1e-5, or 1e-5 of its largest value above 1.
    """
    inputs = example_inputs(model)
    expected = {key: np.asarray(value) for key, value in model(inputs, training=False).items()}
    signature = tf.saved_model.load(str(saved)).signatures[name]
    given = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    for key, value in expected.items():
        difference = float(np.abs(given[key].numpy() - value).max())
        difference /= max(1.0, float(np.abs(value).max()))  # embeddings have no fixed range
        if not difference <= TOLERANCE:
            raise UserError(
                f"{saved}: {key} differs from the trained model by {difference:.2g}; not exported"
            )


def example_inputs(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Three rows of noise of different lengths: all streams, then one missing in turn."""
    rng = np.random.default_rng(seed)
    rows = 3
    made: dict[str, np.ndarray] = {}
    if "audio" in model.input:
        made["audio"] = rng.normal(0, 0.1, (rows, 60_000)).astype(np.float32)
        made["audio_length"] = np.array([60_000, 30_000, 0], np.int32)
    if "text" in model.input:
        made["text"] = np.array([b"What a lovely day, thank you!", b"", "nein 😡".encode()], object)
    if TOKEN_IDS in model.input:
        made[TOKEN_IDS] = np.array([[2, 1, 3, 1], [0, 0, 0, 0], [3, 2, 0, 0]], np.int32)
    if "video" in model.input:
        shape = (rows, 3, *model.input["video"].shape[2:])
        is_units = len(shape) == 3
        made["video"] = (
            rng.random(shape, np.float32)
            if is_units
            else rng.integers(0, 256, shape).astype(np.uint8)
        )
        made["video_mask"] = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    return made


def read_config(path: Path) -> dict[str, Any]:
    """`assets/config.json` of an exported version.

    Raises:
      UserError: not one of our exports.
    """
    file = path / "assets" / CONFIG_ASSET
    if not file.is_file():
        raise UserError(
            f"{path}: a SavedModel without {CONFIG_ASSET}; give one that `export` wrote"
        )
    return storage.read_json(file)


def read_saved(path: Path) -> Any:
    """An exported version, loaded.

    Raises:
      UserError: damaged.
    """
    if "text" in read_config(path).get("streams", ()):
        import tensorflow_text  # noqa: F401  (operations that the model may need)
    try:
        return tf.saved_model.load(str(path))
    except (OSError, IndexError, ValueError, KeyError, tf.errors.OpError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: SavedModel cannot be read ({first}); export it again") from error


def newest_version(path: Path) -> Path | None:
    """The export below `path`: itself, or its highest version; None if it is no export."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.glob("*") if p.name.isdigit() and (p / "saved_model.pb").is_file()]
    return max(versions, key=lambda p: int(p.name)) if versions else None
