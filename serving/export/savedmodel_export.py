"""`export`: a run -> one SavedModel from raw waveform and face crops to probabilities."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.evaluation.inference import client_config, inference_model, load_run
from affectstream.modeling.evaluation.token_model import TOKEN_IDS, token_model, vocabulary_of
from affectstream.modeling.features.text.tokens import FitTokens
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.preprocessing.pcm import from_pcm, to_pcm
from affectstream.serving.export.model_card import read_evaluations, write_card
from affectstream.serving.export.signatures import (
    ANY,
    FACE_JPEG,
    LABELS,
    SERVE_BYTES,
    STREAM_INPUTS,
    STREAM_OUTPUTS,
    WAV,
    ServedModel,
)
from affectstream.serving.export.wav_bytes import to_wav
from affectstream.serving.exported.savedmodel_audit import require_safe
from affectstream.serving.exported.version_folder import (
    CONFIG_ASSET,
    DEFAULT_SIGNATURE,
    VOCABULARY_ASSET,
    read_config,
    version_number,
)

LABELS_ASSET = "labels.txt"
TEXT_INPUTS = ("string", TOKEN_IDS)
TOLERANCE = 1e-5


def export(
    run: Path, out: Path, version: int | None = None, text_input: str = TEXT_INPUTS[0]
) -> Path:
    """Writes `out/VERSION/` after checking it against the Keras model.

    Args:
      out: folder of versions, as TensorFlow Serving reads it.
      version: None uses the next free number.
      text_input: for a text model, "string", or "token_ids" to omit the tokeniser, so that a server
        needs no operations of TensorFlow Text.
    Returns:
      the written folder.
    Raises:
      UserError: the version exists, the run is unfinished, or the saved model gives other outputs.
    """
    storage_paths.require_outside_bundled(out)
    model, info = load_run(run)
    atomic_io.remove_stale_temporaries(out)
    target = out / str(version if version is not None else _next_version(out))
    if target.exists():
        raise UserError(
            f"{target}: exists already; versions are never overwritten, leave --version out"
        )
    models = _served(model, info, text_input)
    config = export_config(run, info)
    if "text" in info.streams:
        config |= {"text_input": text_input, "max_tokens": _max_tokens(models[DEFAULT_SIGNATURE])}
    served = ServedModel(models, info.labels, info.streams, info.input.get("sample_rate_hz"))
    config["signatures"] = served.describe_signatures()
    vocabulary = vocabulary_of(model, info.streams) if "text" in info.streams else []
    with (
        atomic_io.atomic_write(target) as temporary,
        # The next export finds it here if this one is killed.
        tempfile.TemporaryDirectory(
            prefix=f"assets{atomic_io.TEMPORARY_MARK}",
            dir=None if storage_paths.is_remote(out) else out,
        ) as folder,
    ):
        served.attach_assets(_write_assets(Path(folder), info.labels, config, vocabulary))
        tf.saved_model.save(served, str(temporary), signatures=served.functions)
        check_equal(models, temporary, config)
        require_safe(temporary)
        write_card(temporary, config, version=int(target.name))
    return target


def export_config(run: Path, info: RunInfo) -> dict[str, Any]:
    """`client_config` of a run plus the entries of the model card, for every export format."""
    return client_config(info) | {
        "run": str(run),
        "pretrained": info.recipe.pretrained,
        "evaluation": read_evaluations(run),
    }


def _write_assets(
    folder: Path, labels: Sequence[str], config: dict[str, Any], vocabulary: Sequence[str]
) -> dict[str, Path]:
    """Writes the asset files; returns name -> path."""
    lines = {LABELS_ASSET: labels, CONFIG_ASSET: [json.dumps(config, indent=1)]}
    if vocabulary:
        lines[VOCABULARY_ASSET] = vocabulary
    for name, some in lines.items():
        text = "".join(f"{line}\n" for line in some)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return {Path(name).stem: folder / name for name in lines}


def _served(model: keras.Model, info: RunInfo, text_input: str) -> dict[str, keras.Model]:
    """Maps each signature to the model that computes its outputs."""
    whole = {DEFAULT_SIGNATURE: inference_model(model, info)}
    of_tokens = token_model(model, info.streams) if "text" in info.streams else None
    if of_tokens is not None:
        by_ids = inference_model(of_tokens, info)
        return (
            {DEFAULT_SIGNATURE: by_ids} if text_input == TOKEN_IDS else whole | {TOKEN_IDS: by_ids}
        )
    if text_input == TOKEN_IDS:
        raise UserError(f"--text-input {TOKEN_IDS}: this model takes no tokens of a text")
    return whole


def _max_tokens(model: keras.Model) -> int | None:
    """Maximum number of tokens of the model; None if it uses no tokens."""
    layers = [layer for layer in all_layers(model) if isinstance(layer, FitTokens)]
    return layers[0].max_tokens if layers else None


def _next_version(out: Path) -> int:
    taken = (version_number(path) or 0 for path in out.glob("*")) if out.is_dir() else ()
    return max(taken, default=0) + 1


# === Checks ===


def check_equal(models: dict[str, keras.Model], saved: Path, config: dict[str, Any]) -> None:
    """Compares models and SavedModel on the same ragged batches with missing streams.

    Every signature is checked: whole models with numbers, single streams against a batch whose
    other streams are missing, `serve_bytes` with files at the model's own rate and size, and the
    order of `labels`.

    Args:
      models: by signature name.
      saved: folder of the version.
      config: of the export.
    Raises:
      UserError: an output differs by more than 1e-5, relative for outputs above 1.
    """
    signatures = tf.saved_model.load(str(saved)).signatures
    for name, model in models.items():
        inputs = example_inputs(model)
        _require_equal(model(inputs, training=False), signatures[name], inputs, saved)
    model = models[DEFAULT_SIGNATURE]
    for stream in config["streams"]:
        inputs = example_inputs(model)
        stream_inputs = {name: inputs[name] for name in STREAM_INPUTS[stream] if name in inputs}
        others = {
            name: np.zeros_like(value)
            for name, value in inputs.items()
            if name not in stream_inputs
        }
        if "text" in others:
            others["text"] = np.array([b""] * len(others["text"]), object)
        outputs = model({**stream_inputs, **others}, training=False)
        expected = {name: outputs[name] for name in STREAM_OUTPUTS if name in outputs}
        _require_equal(expected, signatures[stream], stream_inputs, saved)
    if SERVE_BYTES in signatures:
        files, inputs = example_files(model, config["input"].get("sample_rate_hz"))
        _require_equal(model(inputs, training=False), signatures[SERVE_BYTES], files, saved)
    rows = signatures[LABELS](**{ANY: tf.constant(["", "x"])})[LABELS].numpy().astype(str)
    if rows.tolist() != [config["labels"]] * 2:
        raise UserError(f"{saved}: signature labels gives {rows.tolist()}; not exported")


def _require_equal(
    expected: dict[str, Any], signature: Any, inputs: dict[str, np.ndarray], saved: Path
) -> None:
    outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    for key, value in expected.items():
        off = difference(outputs[key].numpy(), np.asarray(value))
        if not off <= TOLERANCE:
            raise UserError(
                f"{saved}: {key} differs from the trained model by {off:.2g}; not exported"
            )


def difference(actual: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative to the largest expected value if that is above 1.

    Embeddings have no fixed range.
    """
    return float(np.abs(actual - wanted).max()) / max(1.0, float(np.abs(wanted).max()))


def example_files(
    model: keras.Model, sample_rate_hz: int | None, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The rows of `example_inputs` as files, and the numbers decoded from them.

    Returns:
      inputs of `serve_bytes`; inputs of `serving_default`.
    """
    inputs = example_inputs(model, seed)
    files = dict(inputs)
    if "audio" in inputs and sample_rate_hz is not None:
        del files["audio"], files["audio_length"]
        pcm = to_pcm(inputs["audio"])
        inputs["audio"] = from_pcm(pcm)
        rows = zip(pcm, inputs["audio_length"], strict=True)
        wavs = [to_wav(row[:length], sample_rate_hz) if length else b"" for row, length in rows]
        files[WAV] = np.array(wavs, object)
    if "video" in inputs and inputs["video"].ndim == 5:
        mask = inputs["video_mask"]
        del files["video"], files["video_mask"]
        files[FACE_JPEG] = np.full(mask.shape, b"", object)
        for place in np.argwhere(mask):
            at = tuple(place)
            jpeg = tf.io.encode_jpeg(inputs["video"][at])
            files[FACE_JPEG][at] = jpeg.numpy()
            inputs["video"][at] = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE").numpy()
    return files, inputs


def example_inputs(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Three rows of noise of different lengths: one with all streams, two with some missing."""
    rng = np.random.default_rng(seed)
    rows = 3
    inputs: dict[str, np.ndarray] = {}
    if "audio" in model.input:
        inputs["audio"] = rng.normal(0, 0.1, (rows, 60_000)).astype(np.float32)
        inputs["audio_length"] = np.array([60_000, 30_000, 0], np.int32)
    if "text" in model.input:
        inputs["text"] = np.array(
            [b"What a lovely day, thank you!", b"", "nein 😡".encode()], object
        )
    if TOKEN_IDS in model.input:
        inputs[TOKEN_IDS] = np.array([[2, 1, 3, 1], [0, 0, 0, 0], [3, 2, 0, 0]], np.int32)
    if "video" in model.input:
        shape = (rows, 3, *model.input["video"].shape[2:])
        is_units = len(shape) == 3
        inputs["video"] = (
            rng.random(shape, np.float32)
            if is_units
            else rng.integers(0, 256, shape).astype(np.uint8)
        )
        inputs["video_mask"] = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    return inputs


def load_saved_model(path: Path) -> Any:
    """Loads an exported version.

    Raises:
      UserError: the version is damaged.
    """
    if "text" in read_config(path).get("streams", ()):
        import tensorflow_text  # noqa: F401  (operations that the model may need)
    try:
        return tf.saved_model.load(str(path))
    except (OSError, IndexError, ValueError, KeyError, tf.errors.OpError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: SavedModel cannot be read ({first}); export it again") from error
