"""Builds one input batch from the audio, faces and text of some windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from affectstream.preprocessing.faces.face_finder import Face
from affectstream.preprocessing.model_rows import pad_audio, pad_frames

Item = TypeVar("Item")


class ModelInputs:
    """Builds input batches from windows, in the layout used for training.

    Args:
      streams: of the model.
      config: config of the model; its `input` and its sampling are used.
      num_units: values per frame if action units replace faces; else 0.
    """

    def __init__(self, streams: Sequence[str], config: dict[str, Any], num_units: int = 0) -> None:
        self._streams = streams
        self._spec: dict[str, Any] = config["input"]
        self._num_units = num_units
        sampling = config["preparation"]["sampling"]
        has_number = sampling["mode"] == "time" and not num_units
        # Without a fixed number of frames (tables, every n-th frame) all are used.
        self._most_frames = int(sampling["num_frames"]) if has_number else None

    def batch(
        self,
        waveforms: Sequence[np.ndarray | None],
        faces: Sequence[Sequence[Face | None]],
        texts: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """The model's inputs, with one row per window.

        Args:
          waveforms: (samples,) float32 each, None without audio.
          faces: faces of each analysed frame; None for a frame without a face.
          texts: transcripts, "" if unknown.
        """
        inputs: dict[str, np.ndarray] = {}
        if "audio" in self._streams:
            inputs |= pad_audio(waveforms)
        if "video" in self._streams:
            inputs |= self._faces(faces)
        if "text" in self._streams:
            inputs["text"] = np.array([text.encode() for text in texts], object)
        return inputs

    def _faces(self, faces: Sequence[Sequence[Face | None]]) -> dict[str, np.ndarray]:
        shown = [[None if face is None else face.crop for face in self._few(row)] for row in faces]
        return pad_frames(shown, *self._frame())

    def _few(self, row: Sequence[Face | None]) -> Sequence[Face | None]:
        """Limits a window to the model's number of frames; prefers those with a face."""
        if self._most_frames is None or len(row) <= self._most_frames:
            return row
        return _evenly([face for face in row if face is not None], self._most_frames)

    def _frame(self) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of the value of a frame: a face crop, or action units."""
        if self._num_units:
            return (self._num_units,), np.float32
        size, channels = (self._spec[key] for key in ("face_size_px", "face_channels"))
        return (size, size, channels), np.uint8


def _evenly(items: list[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
