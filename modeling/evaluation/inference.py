"""Turns a finished run into a model that predicts calibrated probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.features.front_end import AudioFrontEnd, max_samples_of_front_end
from affectstream.modeling.fusions.missing_streams import zero_if_missing
from affectstream.modeling.input_spec import PRESENCE_INPUTS
from affectstream.modeling.layer_names import FUSION, stream_layer
from affectstream.modeling.models.fused_model import StreamPresence, fused_model
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.windowing import WindowSettings

# Audio models read windows as long as this front end's; a video-only model has no window.
DEFAULT_WINDOW_S = 3.0


def load_run(path: Path) -> tuple[keras.Model, RunInfo]:
    """The best model of a finished run, and its run info.

    Raises:
      UserError: not a run, unfinished, or damaged.
    """
    info = run_folder.read_run(path)
    if not info.finished:
        raise UserError(f"{path}: unfinished run; finish it with `train --resume` first")
    run_folder.label_set_of(info)
    return checkpoints.load_model(path / run_folder.BEST), info


def inference_model(model: keras.Model, info: RunInfo) -> keras.Model:
    """The model from raw inputs to calibrated probabilities.

    Returns:
      Model to {"probabilities": (B, classes), "embedding": (B, D)} float32, and
      `STREAM_probabilities` (B, classes) for each stream: the prediction with all other streams
      missing; undefined if the stream itself is missing. `embedding` concatenates those of the
      streams, with zeros for missing ones.
    """
    named_outputs = {}
    if len(info.streams) > 1:
        parts = {stream: model.get_layer(stream_layer(stream)) for stream in info.streams}
        model = fused_model(parts, model.get_layer(FUSION), with_single_streams=True)
    outputs, temperature = model.output, info.calibration.temperature
    named_outputs["probabilities"] = _softmax(outputs["logits"], temperature, "probabilities")
    named_outputs["embedding"] = _embedding(model, info)
    for stream in info.streams:
        name = f"{stream}_probabilities"
        if len(info.streams) == 1:
            named_outputs[name] = layers.Activation("linear", name=name)(
                named_outputs["probabilities"]
            )
        else:
            named_outputs[name] = _softmax(outputs[f"{stream}_alone_logits"], temperature, name)
    return keras.Model(model.input, named_outputs, name="inference")


def _embedding(model: keras.Model, info: RunInfo) -> Any:
    """A fusion zeroes the embeddings of its missing streams; a single-stream model does not."""
    embedding = model.output["embedding"]
    amounts = [model.input[name] for name in PRESENCE_INPUTS if name in model.input]
    if len(info.streams) > 1 or not amounts:  # a network on features has no input lengths
        return embedding
    return zero_if_missing(embedding, StreamPresence(name="present")(amounts[0]))


def _softmax(logits: Any, temperature: float, name: str) -> Any:
    scaled = ops.cast(logits, "float32") / temperature
    return layers.Softmax(name=name, dtype="float32")(scaled)


def window_settings(info: RunInfo) -> WindowSettings:
    """How recordings are cut into windows for a model, from the window length of its front end."""
    features = _features_of(info)
    if not features:
        return WindowSettings.for_window(DEFAULT_WINDOW_S)
    front_end: AudioFrontEnd = registry.load("features", features)
    return WindowSettings.for_window(max_samples_of_front_end(front_end) / front_end.sample_rate_hz)


def client_config(info: RunInfo) -> dict[str, Any]:
    """Input preparation for clients, and the origin of the model; `assets/config.json`."""
    windows = window_settings(info)
    return {
        "streams": list(info.streams),
        "label_set": info.label_set,
        "labels": list(info.labels),
        "input": info.input,
        "window_s": windows.window_s,
        "windows": windows.as_json(),
        "preparation": _preparation(info),
        "calibration": {"temperature": info.calibration.temperature},
        "stream_info": info.stream_info,
        "recipe": info.recipe.as_json(),
        "data": info.data,
        "notes": list(info.notes),
        "synthetic": info.synthetic,
        "leak_allowed": info.leak_allowed,
        "scores": info.scores,
        "seed": info.seed,
        "ensemble_members": info.ensemble_members,
        "versions": info.versions,
        "git_revision": info.git_revision,
    }


def _preparation(info: RunInfo) -> dict[str, Any]:
    """How the data were prepared, so that a client prepares its inputs in the same way.

    Still images of faces were used whole in training, so a face found in a larger image is cropped
    without a margin. With a margin, the networks see a smaller face than in training, and accuracy
    drops (`benchmarks.accuracy.crop_margin`).
    """
    if info.preparation.get("detector") != "none" or "face" not in info.preparation:
        return info.preparation
    return info.preparation | {"face": info.preparation["face"] | {"margin": 0.0}}


def preparation_differences(info: RunInfo, folder: DataFolder) -> Iterator[str]:
    """Differences between face crops of a data folder and those that `predict` makes.

    Scores on such records do not apply to what users get. Size and colour are not compared, because
    they always match.
    """
    expected, stored = _preparation(info), folder.settings["preparation"]
    if expected.get("action_units") is not None or "face" not in expected or "face" not in stored:
        return
    expected_detector = "auto" if expected["detector"] == "none" else expected["detector"]
    detector = stored["detector"]
    if detector != expected_detector and (expected_detector != "auto" or detector == "none"):
        wanted_faces = (
            "a detector finds" if expected_detector == "auto" else f"{expected_detector} finds"
        )
        how = (
            "pictures taken whole as faces" if detector == "none" else f"faces found by {detector}"
        )
        yield f"{folder.path}: {how}, where `predict` with this model {wanted_faces} them"
    margins = [one["face"].get("margin") for one in (stored, expected)]
    if detector != "none" and margins[0] != margins[1]:
        yield (
            f"{folder.path}: faces cut with --face-margin {margins[0]:g}, where `predict` with this"
            f" model takes {margins[1]:g}"
        )
    if stored["sampling"] != expected["sampling"]:
        yield f"{folder.path}: other frames than `predict` looks at with this model"


def _features_of(info: RunInfo) -> str:
    if info.recipe.stream == "audio":
        return info.recipe.features
    return str(info.stream_info.get("audio", {}).get("features", ""))
