"""Runs an exported `.tflite` without TensorFlow: fixed shapes, one row at a time.

Rows are padded and cut exactly as in the model's layers (`FitWindow`, `FitTokens`, masks), so that
the outputs equal those of the SavedModel.
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
# Config key that only a `.tflite` has.
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
    """Reads the config of a `.tflite` from the file beside it; imports neither runtime.

    Returns:
      the keys of an export's `assets/config.json`, and under "litert" the `sha256` of the file,
      `inputs` (name -> dtype and shape), `window_samples` and `offset_samples` of its audio.
    Raises:
      UserError: one of the two files is absent or damaged, the config was not written by `export`,
        or the files do not belong together.
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
    litert = config.get(LITERT)
    if not isinstance(litert, dict):
        raise UserError(f"{beside}: not written by `export --format litert`; {_AGAIN}")
    for problem in _problems(litert, config["streams"]):
        raise invalid_config_error(beside, problem)
    if hashlib.sha256(content).hexdigest() != litert["sha256"]:
        raise UserError(
            f"{path}: damaged, or not the file that {beside.name} was written for; {_AGAIN}"
        )
    return content, config


def _problems(litert: dict[str, Any], streams: list[str]) -> Iterator[str]:
    """Problems of the entry `litert` in the config beside a `.tflite`."""
    inputs = litert.get("inputs")
    if not isinstance(litert.get("sha256"), str):
        yield "lacks litert.sha256"
    if not isinstance(inputs, dict):
        yield "lacks litert.inputs"
        return
    wanted = {name for stream in streams for name in _INPUTS[stream]}
    if inputs.keys() != wanted:
        names = ", ".join(sorted(inputs)) or "empty"
        yield f"litert.inputs are {names}, not {', '.join(sorted(wanted))}"
    for name, spec in inputs.items():
        shape = spec.get("shape") if isinstance(spec, dict) else None
        if not isinstance(shape, list) or not all(is_count(size, 1) for size in shape):
            yield f"litert.inputs.{name} lacks its shape"
        elif spec.get("dtype") not in ("float32", "int32", "uint8", "bool"):
            yield f"litert.inputs.{name} lacks its dtype"
    if "audio" in inputs:
        for key, least in (("window_samples", 1), ("offset_samples", 0)):
            if not is_count(litert.get(key), least):
                yield f"lacks litert.{key}"
        if litert["window_samples"] != math.prod(inputs["audio"]["shape"]):
            yield "litert.window_samples is not the length of audio"


class LitertModel:
    """Callable like an export's `serving_default`, with batches of any size; not thread-safe.

    Attributes:
      config: see `read_litert_config`.

    Call:
      inputs: inputs of the model, in the layout of `ModelInputs.batch`: `audio` (B, samples)
        float32 and `audio_length` (B,), `video` (B, T, ...) and `video_mask` (B, T), `token_ids`
        (B, T). Audio is cut to the model's window, valid frames are sampled evenly to the model's
        number, and tokens are cut to the model's number.
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
        """Opens a checked file and its config.

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
        """Compares the config with the runtime's description of the model.

        Raises:
          UserError: names or shapes of inputs differ, or the number of labels.
        """
        details = self._run.get_input_details()
        if details.keys() != self._shapes.keys():
            problem = f"the model takes {', '.join(sorted(details))}"
            raise invalid_config_error(beside, f"{problem}, not {', '.join(sorted(self._shapes))}")
        for name, detail in details.items():
            shape = tuple(int(size) for size in detail["shape"])
            kind = np.dtype(detail["dtype"])
            if (shape, kind) != (self._shapes[name], self._dtypes[name]):
                given = f"{self._shapes[name]} {self._dtypes[name]}"
                raise invalid_config_error(beside, f"{name} is {shape} {kind}, not {given}")
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
        arrays = {name: np.zeros(shape, self._dtypes[name]) for name, shape in self._shapes.items()}
        if "audio" in arrays:
            sound = self._window(inputs["audio"][row], int(inputs["audio_length"][row]))
            arrays["audio"][0, : len(sound)] = sound
            arrays["audio_length"][0] = len(sound)
        if "video" in arrays:
            frames = inputs["video"][row][np.asarray(inputs["video_mask"][row], bool)]
            most = arrays["video"].shape[1]
            if len(frames) > most:
                frames = frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]
            arrays["video"][0, : len(frames)] = frames
            arrays["video_mask"][0, : len(frames)] = True
        if "token_ids" in arrays:
            ids = inputs["token_ids"][row][: arrays["token_ids"].shape[1]]
            arrays["token_ids"][0, : len(ids)] = ids
        return arrays

    def _window(self, audio: np.ndarray, audio_length: int) -> np.ndarray:
        """The segment that `FitWindow` selects, without padding."""
        length = min(max(audio_length, 0), len(audio))
        window, offset = self._own["window_samples"], self._own["offset_samples"]
        start = min(max(length - window, 0), offset)
        return audio[start : min(length, start + window)]


def resolve_new_target(run: Path, out: Path) -> Path:
    """Resolves the `.tflite` of `export --out` and checks that it is new; imports no TensorFlow.

    Args:
      run: names the file if `out` is a folder.
    Raises:
      UserError: one of the two files exists, or their folder cannot be made.
    """
    target = out if is_litert(out) else out / f"{run.resolve().name}{SUFFIX}"
    if not storage_paths.is_remote(target):
        above = next(folder for folder in (*target.parents, Path()) if os.path.lexists(folder))
        if not above.is_dir():
            raise UserError(f"{above}: a file; --out wants NAME{SUFFIX}, or a folder for it")
    require_new(target)
    return target


def require_new(target: Path) -> None:
    """Neither the `.tflite` nor the `.json` beside it may exist, not even as a dead link."""
    for file in (target, config_file(target)):
        if (file.exists() or file.is_symlink()) and not _is_half_a_pair(target):
            raise UserError(f"{file}: exists already; choose another name, or remove it first")


def _is_half_a_pair(target: Path) -> bool:
    """Whether only a config exists, left by an export that was killed before the `.tflite`."""
    if target.exists() or target.is_symlink():
        return False
    litert = atomic_io.read_cached_json(config_file(target)).get("litert")
    return isinstance(litert, dict) and "sha256" in litert


def _signature(content: bytes) -> Any:
    """Runner of the file's only signature, called with inputs by name.

    Raises:
      UserError: the runtime is not installed.
      ValueError, RuntimeError: the runtime cannot run the file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"{SUFFIX} files need the package ai-edge-litert ({error}); pip install ai-edge-litert"
        ) from error
    with suppress_native_stderr():  # prints the processor features in use
        interpreter = Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner(DEFAULT_SIGNATURE)
