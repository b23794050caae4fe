"""`load`: a run folder, an exported SavedModel or a `.tflite` -> a recognizer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import storage_paths, tf_setup
from affectstream.core.errors import UserError
from affectstream.parallel.isolated_worker import IsolatedWorker
from affectstream.serving.inference.known_words import KnownWords
from affectstream.serving.inference.litert_model import LitertModel, config_file, is_litert
from affectstream.serving.inference.recognizer import Recognizer


def load(
    path: str | Path,
    weights_dir: str | Path | None = None,
    detector: str | None = None,
    reader: IsolatedWorker | None = None,
) -> Recognizer:
    """Loads a run folder, an exported SavedModel or a `.tflite`; the last without TensorFlow.

    Args:
      path: run folder, export folder (its newest version), one version of it, or a file written by
        `export --format litert`.
      weights_dir: folder of the face detector's weights; None uses the cache.
      detector: replaces the model's own; "none" uses each image whole.
      reader: process that reads the recordings (`start_reader_process`); None reads them in this
        process.
    Raises:
      UserError: not a model, or damaged; a detector for a model without face crops.

    Example:
        recognizer = load("runs/fusion")
        prediction = recognizer("holiday.mp4")
        print(prediction.label, recognizer.labels)
    """
    model_path = storage_paths.storage_path(path)
    build = functools.partial(
        Recognizer,
        weights_dir=Path(weights_dir) if weights_dir is not None else None,
        detector=detector,
        reader=reader,
    )
    if is_litert(model_path):
        return _from_litert(
            storage_paths.fetch_to_local(model_path, config_file(model_path)), build
        )
    folder = storage_paths.fetch_to_local(model_path)
    tf_setup.import_tensorflow()
    from affectstream.modeling.runs import run_folder
    from affectstream.serving.exported.version_folder import newest_version

    if run_folder.is_run(folder):
        return _from_run(folder, build)
    version = newest_version(folder) if folder.is_dir() else None
    if version is None:
        raise UserError(f"{folder}: neither a run folder nor an export; train or export one first")
    return _from_export(version, build)


def _from_litert(path: Path, build: Callable[..., Recognizer]) -> Recognizer:
    model = LitertModel.open(path)
    _require_strings(path, model.config)
    return build(model, model.config, eager_detector=False)


def _require_strings(path: Path, config: dict[str, Any]) -> None:
    """Rejects a model without its tokeniser.

    Raises:
      UserError: the model has no tokeniser.
    """
    if config.get("text_input", "string") != "string":
        raise UserError(
            f"{path}: takes numbers of tokens, made for servers; give the run, or an export"
            " without --text-input"
        )


def _from_run(folder: Path, build: Callable[..., Recognizer]) -> Recognizer:
    import tensorflow as tf

    from affectstream.modeling.evaluation.inference import client_config, inference_model, load_run
    from affectstream.modeling.evaluation.token_model import vocabulary_of

    model, info = load_run(folder)
    inference = inference_model(model, info)
    call = tf.function(lambda inputs: inference(inputs, training=False), reduce_retracing=True)

    def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: v.numpy() for k, v in call(_tensors(inputs)).items()}

    recognizer = build(forward, client_config(info))
    if "text" in info.streams:
        recognizer.known_words = KnownWords.from_vocabulary(vocabulary_of(model, info.streams))
    return recognizer


def _from_export(version: Path, build: Callable[..., Recognizer]) -> Recognizer:
    from affectstream.serving.export.savedmodel_export import load_saved_model, read_config
    from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE, read_vocabulary

    config = read_config(version)
    _require_strings(version, config)
    saved = load_saved_model(version)

    def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: value.numpy()
            for name, value in saved.signatures[DEFAULT_SIGNATURE](**_tensors(inputs)).items()
        }

    recognizer = build(forward, config)
    recognizer.known_words = KnownWords.from_vocabulary(read_vocabulary(version))
    return recognizer


def _tensors(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.constant(value) for name, value in inputs.items()}
