"""Runs an exported `.tflite` without TensorFlow: fixed shapes, one row at a time.

Rows are padded and cut here exactly as the model's layers do it (`FitWindow`, `FitTokens`, masks),
so that the outputs equal those of the SavedModel.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import atomic_io, lfs_pointer, storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.core.tf_setup import suppress_native_stderr
from affectstream.serving.exported.version_folder import (
    DEFAULT_SIGNATURE,
    check_config,
    invalid_config_error,
    is_count,
    read_checked_config,
)

SUFFIX = ".tflite"
# Key of the config that only a `.tflite` has.
LITERT = "litert"
_AGAIN = "export it again (`export --format litert`)"

Arrays = dict[str, np.ndarray]
# Stream -> its inputs.
_INPUTS = {
    "audio": ("audio", "audio_length"),
    "video": ("video", "video_mask"),
    "text": ("token_ids",),
}


def config_file(path: Path) -> Path:
    """Path of the labels and config of a `.tflite`: NAME.json beside it."""
    return path.with_suffix(".json")


def is_litert(path: Path) -> bool:
    """Whether a path names a `.tflite`."""
    return path.suffix.lower() == SUFFIX


def read_litert_config(path: Path) -> dict[str, Any]:
    """What is known of a `.tflite`, from the file beside it; imports neither runtime.

    Returns:
      the keys of an export's `assets/config.json`, and under "litert" the `sha256` of the file,
      `inputs` (name -> dtype and shape), `window_samples` and `offset_samples` of its sound.
    Raises:
      UserError: one of the two files is absent or damaged, the second is not as `export` writes it,
        or they do not belong together.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The model's bytes and its config."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os_error(error, path) from error
    lfs_pointer.require_not_pointer(path)
    beside = config_file(path)
    if not beside.is_file():
        raise UserError(f"{path}: without {beside.name} beside it; keep the two together")
    config = read_checked_config(beside)
    own = config.get(LITERT)
    if not isinstance(own, dict):
        raise UserError(f"{beside}: not written by `export --format litert`; {_AGAIN}")
    for problem in _problems(own, config["streams"]):
        raise invalid_config_error(beside, problem)
    if hashlib.sha256(content).hexdigest() != own["sha256"]:
        raise UserError(
            f"{path}: damaged, or not the file that {beside.name} was written for; {_AGAIN}"
        )
    return content, config


def _problems(own: dict[str, Any], streams: list[str]) -> Iterator[str]:
    """Problems of the entry `litert` in the config beside a `.tflite`."""
    inputs = own.get("inputs")
    if not isinstance(own.get("sha256"), str):
        yield "lacks litert.sha256"
    if not isinstance(inputs, dict):
        yield "lacks litert.inputs"
        return
    wanted = {name for stream in streams for name in _INPUTS[stream]}
    if inputs.keys() != wanted:
        told = ", ".join(sorted(inputs)) or "empty"
        yield f"litert.inputs are {told}, not {', '.join(sorted(wanted))}"
    for name, spec in inputs.items():
        shape = spec.get("shape") if isinstance(spec, dict) else None
        if not isinstance(shape, list) or not all(is_count(size, 1) for size in shape):
            yield f"litert.inputs.{name} lacks its shape"
        elif spec.get("dtype") not in ("float32", "int32", "uint8", "bool"):
            yield f"litert.inputs.{name} lacks its dtype"
    if "audio" in inputs:
        for key, least in (("window_samples", 1), ("offset_samples", 0)):
            if not is_count(own.get(key), least):
                yield f"lacks litert.{key}"
        if own["window_samples"] != math.prod(inputs["audio"]["shape"]):
            yield "litert.window_samples is not the length of audio"


class LitertModel:
    """Called as an export's `serving_default` is, with batches of any size and length; by one
    thread at a time.

    Attributes:
      config: see `read_litert_config`.

    Call:
      inputs: those of the model, as `ModelInputs.batch` lays them out: `audio` (B, samples)
        float32 and `audio_length` (B,), `video` (B, T, ...) and `video_mask` (B, T), `token_ids`
        (B, T). Sound is cut to the model's window, of frames that count as many as the model looks
        at are taken evenly, tokens are cut at the model's number.
    Returns:
      `probabilities` (B, classes), `embedding` (B, D) and each `STREAM_probabilities`, float32.
    """

    def __init__(self, content: bytes, config: dict[str, Any]) -> None:
        self.config = config
        self._own: dict[str, Any] = config[LITERT]
        self._shapes = {name: tuple(spec["shape"]) for name, spec in self._own["inputs"].items()}
        self._dtypes = {name: np.dtype(s["dtype"]) for name, s in self._own["inputs"].items()}
        self._run = _signature(content)

    @classmethod
    def open(cls, path: Path) -> LitertModel:
        """A checked file and its config.

        Raises:
          UserError: see `read_litert_config`; the runtime is missing, or cannot run the file.
        """
        content, config = _read(path)
        try:
            model = cls(content, config)
        except (ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: LiteRT cannot run it ({first}); {_AGAIN}") from error
        model._require_same_preparation(config_file(path))
        return model

    def _require_same_preparation(self, beside: Path) -> None:
        """Compares the config with what the runtime says of the model.

        Raises:
          UserError: names or shapes of inputs differ, or the number of labels.
        """
        details = self._run.get_input_details()
        if details.keys() != self._shapes.keys():
            problem = f"the model takes {', '.join(sorted(details))}"
            raise invalid_config_error(beside, f"{problem}, not {', '.join(sorted(self._shapes))}")
        for name, detail in details.items():
            there = tuple(int(size) for size in detail["shape"])
            kind = np.dtype(detail["dtype"])
            if (there, kind) != (self._shapes[name], self._dtypes[name]):
                given = f"{self._shapes[name]} {self._dtypes[name]}"
                raise invalid_config_error(beside, f"{name} is {there} {kind}, not {given}")
        given_frame = self.config["input"]
        if "video" in self._shapes and self.config["preparation"].get("action_units") is None:
            size, channels = given_frame["face_size_px"], given_frame["face_channels"]
            if self._shapes["video"][2:] != (size, size, channels):
                raise invalid_config_error(
                    beside, "face_size_px or face_channels is not that of video"
                )
        outputs = self._run.get_output_details()
        if "probabilities" not in outputs:
            raise invalid_config_error(beside, "the model gives no probabilities")
        check_config(self.config, beside, int(outputs["probabilities"]["shape"][-1]))

    def __call__(self, inputs: Arrays) -> Arrays:
        num_rows = len(next(iter(inputs.values())))
        answers = [self._run(**self.row(inputs, row)) for row in range(num_rows)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def row(self, inputs: Arrays, row: int) -> Arrays:
        """One row of a batch in the shapes of the file."""
        made = {name: np.zeros(shape, self._dtypes[name]) for name, shape in self._shapes.items()}
        if "audio" in made:
            sound = self._window(inputs["audio"][row], int(inputs["audio_length"][row]))
            made["audio"][0, : len(sound)] = sound
            made["audio_length"][0] = len(sound)
        if "video" in made:
            frames = inputs["video"][row][np.asarray(inputs["video_mask"][row], bool)]
            most = made["video"].shape[1]
            if len(frames) > most:
                frames = frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]
            made["video"][0, : len(frames)] = frames
            made["video_mask"][0, : len(frames)] = True
        if "token_ids" in made:
            ids = inputs["token_ids"][row][: made["token_ids"].shape[1]]
            made["token_ids"][0, : len(ids)] = ids
        return made

    def _window(self, audio: np.ndarray, audio_length: int) -> np.ndarray:
        """The segment that `FitWindow` selects, without padding."""
        length = min(max(audio_length, 0), len(audio))
        window, offset = self._own["window_samples"], self._own["offset_samples"]
        start = min(max(length - window, 0), offset)
        return audio[start : min(length, start + window)]


def resolve_new_target(run: Path, out: Path) -> Path:
    """The `.tflite` that `export --out` names, which can be written; imports no TensorFlow.

    Args:
      run: names the file where `out` is a folder.
    Raises:
      UserError: it or the file beside it exists, or no folder can be made for it.
    """
    target = out if is_litert(out) else out / f"{run.resolve().name}{SUFFIX}"
    if not storage_paths.is_remote(target):
        above = next(folder for folder in (*target.parents, Path()) if os.path.lexists(folder))
        if not above.is_dir():
            raise UserError(f"{above}: a file; --out wants NAME{SUFFIX}, or a folder for it")
    require_new(target)
    return target


def require_new(target: Path) -> None:
    """Neither the `.tflite` nor the `.json` beside it may be there, dead links included."""
    for file in (target, config_file(target)):
        if (file.exists() or file.is_symlink()) and not _is_half_a_pair(target):
            raise UserError(f"{file}: exists already; choose another name, or remove it first")


def _is_half_a_pair(target: Path) -> bool:
    """Whether only a config exists, left by an export that was killed before the `.tflite`."""
    if target.exists() or target.is_symlink():
        return False
    own = atomic_io.read_cached_json(config_file(target)).get("litert")
    return isinstance(own, dict) and "sha256" in own


def _signature(content: bytes) -> Any:
    """Runner of the file's only signature, called with inputs by name.

    Raises:
      UserError: the runtime is not installed.
      ValueError, RuntimeError: it cannot run the file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"{SUFFIX} files need the package ai-edge-litert ({error}); pip install ai-edge-litert"
        ) from error
    with suppress_native_stderr():  # it says which processor features it uses
        interpreter = Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner(DEFAULT_SIGNATURE)
