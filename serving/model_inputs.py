"""Sound, faces and words of some windows as one batch of a model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from preprocessing.faces import Face

Item = TypeVar("Item")


class ModelInputs:
    """Lays out what windows hold as the model was fed in training.

    Args:
      streams: of the model.
      config: what is known of it; its `input` and its frames a window are used.
      num_units: values a frame gives where action units take the place of faces; else 0.
    """

    def __init__(self, streams: Sequence[str], config: dict[str, Any], num_units: int = 0) -> None:
        self._streams = streams
        self._spec: dict[str, Any] = config["input"]
        self._num_units = num_units
        self.num_frames = int(config["preparation"]["sampling"]["num_frames"])

    def batch(
        self,
        sounds: Sequence[np.ndarray | None],
        faces: Sequence[Sequence[Face | None]],
        texts: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """The inputs of one row a window, those of the model's streams.

        Args:
          sounds: (samples,) float32 each, None where there is none.
          faces: of each frame that was looked at; None where nobody was seen.
          texts: what is said, "" where that is unknown.
        """
        inputs: dict[str, np.ndarray] = {}
        if "audio" in self._streams:
            inputs |= _sounds(sounds)
        if "video" in self._streams:
            inputs |= self._faces(faces)
        if "text" in self._streams:
            inputs["text"] = np.array([text.encode() for text in texts], object)
        return inputs

    def _faces(self, faces: Sequence[Sequence[Face | None]]) -> dict[str, np.ndarray]:
        shape, kind = self._frame()
        found = [_evenly([f for f in row if f is not None], self.num_frames) for row in faces]
        most = max(1, *(len(row) for row in found))
        video: np.ndarray = np.zeros((len(faces), most, *shape), kind)
        mask = np.zeros((len(faces), most), bool)
        for row, crops in enumerate(found):
            for column, face in enumerate(crops):
                video[row, column], mask[row, column] = face.crop, True
        return {"video": video, "video_mask": mask}

    def _frame(self) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of what a frame gives: a face crop, or action units."""
        if self._num_units:
            return (self._num_units,), np.float32
        size, channels = (self._spec[key] for key in ("face_size_px", "face_channels"))
        return (size, size, channels), np.uint8

    def present(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(rows,) bool of each stream: whether the row has it."""
        there: dict[str, np.ndarray] = {}
        if "audio" in self._streams:
            there["audio"] = np.asarray(inputs["audio_length"] > 0)
        if "video" in self._streams:
            there["video"] = np.asarray(inputs["video_mask"].any(axis=1))
        if "text" in self._streams:
            there["text"] = np.array([bool(text.strip()) for text in inputs["text"]])
        return there


def _sounds(sounds: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
    lengths = [0 if sound is None else len(sound) for sound in sounds]
    audio = np.zeros((len(sounds), max(1, *lengths)), np.float32)
    for row, sound in enumerate(sounds):
        if sound is not None:
            audio[row, : len(sound)] = sound
    return {"audio": audio, "audio_length": np.array(lengths, np.int32)}


def _evenly(items: list[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread: a window may hold some more than its hops ask for."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
