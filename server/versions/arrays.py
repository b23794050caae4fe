"""Requests as arrays: checks them against a signature, pads, merges and splits them.

Strings are object arrays of bytes, numbers have the signature's dtypes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from affectstream.server.errors import invalid

if TYPE_CHECKING:
    from affectstream.serving.export.warmup import InputSpec

Arrays = dict[str, np.ndarray]

# Inputs with a known meaning, and their size limits. Models use about 16 frames and 128 tokens per
# clip; each face frame costs its layers far more than its own bytes.
FRAMES, TOKENS, FACE_FILES = ("video", "video_mask"), "token_ids", "face_jpeg"
MAX_FRAMES = 512
MAX_TOKENS = 4096
FRAME_BYTES = 256 * 1024
FRAME_RANK = 4  # (frames, height, width, channels); action units have 2
# A waveform is in [-1, 1]; beyond this limit the squares in a spectrogram overflow.
MAX_ABS_VALUE = 1e6
MAX_NAME_CHARACTERS = 64  # length of client names in a response


def check_inputs(specs: dict[str, InputSpec], inputs: Arrays) -> int:
    """Checks a request against its signature.

    It checks names, dtypes, shapes and values: floats are finite and at most 1e6 (otherwise a model
    would return NaN), `audio_length` is within the samples, `video_mask` has as many frames as
    `video`, and there are at most 512 frames or 4096 tokens per row.

    Args:
      specs: input -> dtype and shape, None for any length.
      inputs: received inputs.
    Returns:
      number of rows, at least 1.
    Raises:
      ServingError: INVALID_ARGUMENT, naming the input, the expected and the received value.
    """
    check_names(specs, inputs)
    for name, spec in specs.items():
        _check_one(name, spec, inputs[name])
    rows = {name: inputs[name].shape[0] for name in specs}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {number}" for name, number in rows.items())
        raise invalid(f"inputs differ in their number of rows ({counts}); all need one number")
    num_rows = next(iter(rows.values()))
    if num_rows == 0:
        raise invalid("no rows; send at least one")
    _check_meaning(inputs)
    return num_rows


def check_names(specs: dict[str, InputSpec], inputs: Collection[str]) -> None:
    """Checks only the names, before anything is decoded.

    Args:
      inputs: received names, or a mapping of them.
    Raises:
      ServingError: INVALID_ARGUMENT, with the text of tensorflow/serving,
        servables/tensorflow/predict_util.cc.
    """
    wanted = ",".join(sorted(specs))
    extra = sorted(set(inputs) - set(specs))
    missing = sorted(set(specs) - set(inputs))
    if extra and not missing:
        raise invalid(
            f"input tensor alias not found in signature: {extra[0][:MAX_NAME_CHARACTERS]}."
            f" Inputs expected to be in the set {{{wanted}}}."
        )
    if missing:
        sent = ",".join(name[:MAX_NAME_CHARACTERS] for name in extra[: len(specs)])
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(specs)};"
            f" inputs expected: {{{wanted}}}. Sent extra: {{{sent}}}."
            f" Missing but required: {{{','.join(missing)}}}."
        )


def _check_one(name: str, spec: InputSpec, value: np.ndarray) -> None:
    """Dtype, rank, fixed lengths and values of one input."""
    if value.dtype != np.dtype(spec.dtype):
        raise invalid(
            f"{name}: wants {_dtype_name(spec.dtype)}, received {_dtype_name(value.dtype.name)}"
        )
    fits = value.ndim == len(spec.shape) and all(
        wanted is None or wanted == length
        for wanted, length in zip(spec.shape, value.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in spec.shape)
        raise invalid(f"{name}: wants shape ({wanted}), received {_shape(value)}")
    if value.dtype == object:
        if not all(isinstance(item, bytes) for item in value.flat):
            raise invalid(f"{name}: wants strings of bytes, received something else among them")
    elif np.issubdtype(value.dtype, np.floating):
        _check_floats(name, value)
    for names, most, of in ((FRAMES, MAX_FRAMES, "frames"), ((TOKENS,), MAX_TOKENS, "tokens")):
        if name in (*names, *((FACE_FILES,) if of == "frames" else ())) and value.shape[1] > most:
            raise invalid(f"{name}: wants at most {most} {of} a row, received {value.shape[1]}")


def _check_floats(name: str, value: np.ndarray) -> None:
    if value.size == 0:
        return
    largest = float(max(value.max(), -value.min()))  # NaN if any value is NaN
    if not largest <= MAX_ABS_VALUE:
        wrong = np.argwhere(~(np.abs(value) <= MAX_ABS_VALUE))[0]
        raise invalid(
            f"{name}: wants finite numbers up to {MAX_ABS_VALUE:g},"
            f" received {float(value[tuple(wrong)]):g} in row {wrong[0]}"
        )


def _check_meaning(inputs: Arrays) -> None:
    """Checks that the inputs of one stream are consistent."""
    if "audio" in inputs and "audio_length" in inputs:
        lengths, num_samples = inputs["audio_length"], inputs["audio"].shape[1]
        wrong = np.flatnonzero((lengths < 0) | (lengths > num_samples))
        if len(wrong):
            raise invalid(
                f"audio_length: wants 0 to {num_samples}, the samples sent,"
                f" received {int(lengths[wrong[0]])} in row {wrong[0]}"
            )
    if all(name in inputs for name in FRAMES):
        frames = [inputs[name].shape[1] for name in FRAMES]
        if frames[0] != frames[1]:
            raise invalid(
                f"video_mask: wants {frames[0]} frames, as many as video, received {frames[1]}"
            )


def _dtype_name(dtype: str) -> str:
    return "string" if dtype == "object" else dtype


def _shape(value: np.ndarray) -> str:
    return "(" + ", ".join(map(str, value.shape)) + ")"


# === Merging and splitting ===


@dataclass(frozen=True)
class RequestSize:
    """Size of one checked request, or of several merged ones.

    Attributes:
      num_rows: total rows.
      inner: input -> largest lengths after the batch dimension.
      string_bytes: total bytes of strings.
    """

    num_rows: int
    inner: dict[str, tuple[int, ...]]
    string_bytes: int

    def merge(self, other: RequestSize) -> RequestSize:
        """Size of both in one batch."""
        inner = {
            name: tuple(map(max, lengths, other.inner[name]))
            for name, lengths in self.inner.items()
        }
        string_bytes = self.string_bytes + other.string_bytes
        return RequestSize(self.num_rows + other.num_rows, inner, string_bytes)

    def cost_bytes(self, specs: dict[str, InputSpec]) -> int:
        """Memory of the padded batch: its bytes, and 256 KiB for each face frame.

        A frame, as pixels or as a file, becomes feature maps of many times its size.
        """
        a_row = 0
        for name, lengths in self.inner.items():
            if name == FACE_FILES or (name == "video" and len(lengths) == FRAME_RANK):
                a_row += lengths[0] * max(FRAME_BYTES, math.prod(lengths[1:]))
            else:
                a_row += math.prod(lengths) * np.dtype(specs[name].dtype).itemsize
        return self.num_rows * a_row + self.string_bytes


def request_size(specs: dict[str, InputSpec], inputs: Arrays) -> RequestSize:
    """Size of a checked request; unknown lengths count as at least 1 (`merge_requests`)."""
    inner = {
        name: tuple(
            max(1, length) if wanted is None else length
            for wanted, length in zip(spec.shape[1:], inputs[name].shape[1:], strict=True)
        )
        for name, spec in specs.items()
    }
    strings = [inputs[name] for name, spec in specs.items() if spec.dtype == "object"]
    string_bytes = sum(len(item) for value in strings for item in value.flat)
    return RequestSize(num_rows_of(inputs), inner, string_bytes)


def merge_requests(specs: dict[str, InputSpec], requests: Sequence[Arrays]) -> Arrays:
    """Merges all rows of checked requests into one batch, in order.

    Unknown lengths after the batch dimension are padded at the end with 0, False or empty strings
    to the longest, and to at least 1: the models skip masked frames, samples beyond the length and
    tokens 0.
    """
    sizes = (request_size(specs, request) for request in requests)
    inner = functools.reduce(RequestSize.merge, sizes).inner
    return {name: _joined([request[name] for request in requests], inner[name]) for name in specs}


def _joined(values: list[np.ndarray], inner: tuple[int, ...]) -> np.ndarray:
    if all(value.shape[1:] == inner for value in values):
        return values[0] if len(values) == 1 else np.concatenate(values)
    num_rows = sum(len(value) for value in values)
    nothing = b"" if values[0].dtype == object else 0
    padded = np.full((num_rows, *inner), nothing, values[0].dtype)
    row = 0
    for value in values:
        padded[(slice(row, row + len(value)), *map(slice, value.shape[1:]))] = value
        row += len(value)
    return padded


def num_rows_of(inputs: Arrays) -> int:
    """Rows of a checked request."""
    return len(next(iter(inputs.values())))


def split_rows(inputs: Arrays, num_rows: int) -> list[Arrays]:
    """Splits a request into parts of at most `num_rows` rows."""
    return [
        {name: value[start : start + num_rows] for name, value in inputs.items()}
        for start in range(0, num_rows_of(inputs), num_rows)
    ]
