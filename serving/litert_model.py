"""A `.tflite` of ours at work: fixed shapes, one row at a time, without TensorFlow.

What rows of any length lack or have too much of is settled here exactly as the layers of the model
do it (`FitWindow`, `FitTokens`, masks), so that the answer is that of the SavedModel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import storage
from errors import UserError, from_os_error
from quiet import native_talk_muted

SUFFIX = ".tflite"
SIGNATURE = "serving_default"
# Key of the config that only a `.tflite` has.
LITERT = "litert"
_AGAIN = "export it again (`export --format litert`)"

Arrays = dict[str, np.ndarray]


def config_file(path: Path) -> Path:
    """Where labels and config of a `.tflite` lie: beside it, NAME.json."""
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
      UserError: one of the two files is absent or damaged, or they do not belong together.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The model's bytes and its config."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os_error(error, path) from error
    beside = config_file(path)
    if not beside.is_file():
        raise UserError(f"{path}: without {beside.name} beside it; keep the two together")
    config = storage.read_json(beside)
    own = config.get(LITERT) if isinstance(config, dict) else None
    if not isinstance(own, dict) or not {"sha256", "inputs"} <= own.keys():
        raise UserError(f"{beside}: not written by `export --format litert`; {_AGAIN}")
    if hashlib.sha256(content).hexdigest() != own["sha256"]:
        raise UserError(
            f"{path}: damaged, or not the file that {beside.name} was written for; {_AGAIN}"
        )
    return content, config


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
            return cls(content, config)
        except (ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: LiteRT cannot run it ({first}); {_AGAIN}") from error

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
        """The stretch that `FitWindow` would look at, not filled up."""
        length = min(max(audio_length, 0), len(audio))
        window, offset = self._own["window_samples"], self._own["offset_samples"]
        start = min(max(length - window, 0), offset)
        return audio[start : min(length, start + window)]


def _signature(content: bytes) -> Callable[..., Arrays]:
    """The file's one signature, ready to be called by the names of its inputs.

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
    with native_talk_muted():  # it says which processor features it uses
        interpreter = Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
        interpreter.allocate_tensors()
        runner: Callable[..., Arrays] = interpreter.get_signature_runner(SIGNATURE)
    return runner
