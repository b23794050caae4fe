"""`export --format litert`: a run -> one `.tflite` with fixed shapes and built-in operations."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from affectstream.core import atomic_io
from affectstream.core.errors import UserError, format_names
from affectstream.core.tf_setup import suppress_native_stderr
from affectstream.modeling.evaluation.inference import inference_model, load_run
from affectstream.modeling.evaluation.token_model import TOKEN_IDS, token_model
from affectstream.modeling.features.audio.window import FitWindow
from affectstream.modeling.features.text.tokens import FitTokens
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.serving.export.savedmodel_export import (
    TEXT_INPUTS,
    difference,
    example_inputs,
    export_config,
)
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE
from affectstream.serving.inference.litert_model import (
    LITERT,
    LitertModel,
    config_file,
    require_new,
    resolve_new_target,
)

TOLERANCE = 1e-4
EXAMPLE_SEEDS = (0, 1)

ReferenceExamples = list[tuple[dict[str, np.ndarray], dict[str, Any]]]


class ConversionError(UserError):
    """The model cannot be converted to LiteRT."""


def export_litert(run: Path, out: Path, text_input: str = TEXT_INPUTS[0]) -> Path:
    """Writes NAME.tflite and NAME.json after running them in LiteRT.

    Args:
      out: the file, NAME.tflite, or a folder that gets one named after the run.
      text_input: must be "token_ids" for a text model: LiteRT has no string operations.
    Returns:
      the `.tflite`.
    Raises:
      UserError: one of the two files exists, the run is unfinished, LiteRT lacks an operation that
        the model needs, or the outputs of the file differ from those of the model.
    """
    target = resolve_new_target(run, out)
    atomic_io.remove_stale_temporaries(target.parent)
    model, info = load_run(run)
    inference = numeric_model(model, info, str(run))
    if "text" in info.streams and text_input != TOKEN_IDS:
        raise UserError(
            f"{run}: takes strings, which LiteRT has no operations for; add"
            f" --text-input {TOKEN_IDS}, and do the tokeniser's work in the client"
        )
    if "text" not in info.streams and text_input == TOKEN_IDS:
        raise UserError(f"--text-input {TOKEN_IDS}: {run} takes no tokens of a text")
    config = export_config(run, info)
    if "text" in info.streams:
        config["text_input"] = text_input
    content, config = convert(inference, config, str(run))
    _write_pair(target, content, config)
    return target


def convert(
    inference: keras.Model, config: dict[str, Any], name: str
) -> tuple[bytes, dict[str, Any]]:
    """The model as a checked flat buffer, and its config with the LiteRT entries.

    Permanently changes layers of `inference`: recurrences are unrolled, spectra single precision.

    Args:
      inference: from `inference_model`, with numeric inputs only.
      config: from `export_config`.
      name: for messages.
    Raises:
      ConversionError: an operation is not built in.
      UserError: the file does not run, or its outputs differ by more than 1e-4.
    """
    specs = fixed_inputs(inference, config)
    examples = reference_examples(inference, config)
    for layer in all_layers(inference):
        if hasattr(layer, "transform_dtype"):
            layer.transform_dtype = "float32"
        if isinstance(layer, keras.layers.RNN):
            layer.unroll = True
    content = _converted(inference, specs, name)
    litert_config = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": {
            key: {"dtype": np.dtype(spec.dtype.as_numpy_dtype).name, "shape": list(spec.shape)}
            for key, spec in specs.items()
        },
        **_window_of(inference),
    }
    config = config | {LITERT: litert_config}
    _check(content, config, examples, name)
    return content, config


def fixed_inputs(inference: keras.Model, config: dict[str, Any]) -> dict[str, tf.TensorSpec]:
    """Fixed input specs of the file: one row, with the model's window, frames and tokens.

    Returns:
      `audio` (1, window) float32, `audio_length` (1,) int32, `video` (1, T, ...) uint8 or float32,
      `video_mask` (1, T) bool, `token_ids` (1, T) int32, if the model has them.
    """
    window = _window_of(inference).get("window_samples")
    num_frames = max(1, int(config["preparation"]["sampling"]["num_frames"]))
    most_tokens = [x.max_tokens for x in all_layers(inference) if isinstance(x, FitTokens)]
    steps = {"audio": window, "video": num_frames, "video_mask": num_frames}
    if most_tokens:
        steps[TOKEN_IDS] = most_tokens[0]
    specs = {}
    for name, tensor in inference.input.items():
        shape = (1, *(steps[name] if size is None else size for size in tensor.shape[1:]))
        specs[name] = tf.TensorSpec(shape, tensor.dtype, name=name)
    return specs


def reference_examples(inference: keras.Model, config: dict[str, Any]) -> ReferenceExamples:
    """Example inputs of various lengths and with missing streams, and their expected outputs."""
    examples = []
    specs = fixed_inputs(inference, config)
    for seed in EXAMPLE_SEEDS:
        example = example_inputs(inference, seed)
        if "video" in example:  # a model of still images may have one frame only
            for key in ("video", "video_mask"):
                example[key] = example[key][:, : specs["video"].shape[1]]
        examples.append((example, inference(example, training=False)))
    return examples


def numeric_model(model: keras.Model, info: RunInfo, name: str) -> keras.Model:
    """`inference_model` with token ids in place of strings.

    Raises:
      ConversionError: the text model uses no tokens.
    """
    if "text" not in info.streams:
        return inference_model(model, info)
    of_tokens = token_model(model, info.streams)
    if of_tokens is None:
        raise ConversionError(
            f"{name}: its words are one vector made of strings (TF-IDF), which LiteRT cannot do;"
            " export a SavedModel instead"
        )
    return inference_model(of_tokens, info)


def _window_of(inference: keras.Model) -> dict[str, int]:
    """Window length and offset of an audio model, from its first `FitWindow`."""
    for layer in all_layers(inference):
        if isinstance(layer, FitWindow):
            return {
                "window_samples": layer.window_samples,
                "offset_samples": layer.offset_samples,
            }
    return {}


# === Conversion ===


def _converted(inference: keras.Model, specs: dict[str, tf.TensorSpec], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, suppress_native_stderr():
        try:
            # Via a SavedModel, which keeps the names of inputs and outputs.
            served = tf.Module()
            signatures = {DEFAULT_SIGNATURE: _frozen(inference, specs)}
            tf.saved_model.save(served, folder, signatures=signatures)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=[DEFAULT_SIGNATURE]
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            return bytes(converter.convert())
        except Exception as error:  # errors from C++ have no common type
            cause = error
    raise ConversionError(
        f"{name}: LiteRT cannot do it ({error_summary(cause)}); not exported"
    ) from cause


def _frozen(inference: keras.Model, specs: dict[str, tf.TensorSpec]) -> Any:
    """The model for one row, with weights as constants: the converter reads variables as zeros."""
    traced = tf.function(lambda **inputs: inference(inputs, training=False))
    concrete = traced.get_concrete_function(**specs)
    # TensorFlow has no public name for this function; the public converter does not return its
    # result.
    constant = convert_variables_to_constants_v2(concrete)
    given = [tensor.name.split(":")[0] for tensor in constant.inputs]
    made = sorted(concrete.structured_outputs)  # the order in which a dict is flattened

    def answer(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = constant(*(inputs[key] for key in given))
        return dict(zip(made, tf.nest.flatten(outputs), strict=True))

    return tf.function(answer).get_concrete_function(**specs)


def error_summary(error: Exception) -> str:
    """Summarises a converter error of hundreds of lines in one line."""
    text = str(error)
    for kind in ("Flex", "Custom"):
        match = re.search(rf"{kind} ops: ([\w, ]+)", text)
        if match:
            return f"needs operations that are no built-in ones: {match[1].strip()}"
    failed = sorted(set(re.findall(r"'(tfl?\.\w+)' op", text)))
    if failed:
        shown = format_names(failed)
        precision = " of float64" if "xf64>" in text else ""
        return f"no built-in operation{precision} for {shown}"
    return (text.strip().splitlines() or [type(error).__name__])[0][:200]


def _check(content: bytes, config: dict[str, Any], examples: ReferenceExamples, name: str) -> None:
    """Runs the file in the same way as `predict`.

    Raises:
      UserError: it does not run, or differs by more than 1e-4 (relative for values above 1).
    """
    try:
        model = LitertModel(content, config)
        answers = [model(example) for example, _ in examples]
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{name}: LiteRT cannot run it ({error_summary(error)}); not exported"
        ) from error
    for answer, (_, wanted) in zip(answers, examples, strict=True):
        for key, value in wanted.items():
            off = difference(answer[key], np.asarray(value))
            if not off <= TOLERANCE:
                raise UserError(
                    f"{name}: {key} of LiteRT differs from the trained model by {off:.2g};"
                    " not exported"
                )


def _write_pair(target: Path, content: bytes, config: dict[str, Any]) -> None:
    """Writes the config first: it is ignored as long as the `.tflite` is missing."""
    beside = config_file(target)
    require_new(target)  # conversion took a while
    atomic_io.write_json(beside, config)
    try:
        with atomic_io.atomic_write(target) as temporary:
            temporary.write_bytes(content)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
