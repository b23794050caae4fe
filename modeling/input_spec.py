"""Model inputs: names, shapes and dtypes, the same from record to serving signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from affectstream.preprocessing.dataset.data_folder import DataFolder

# Inputs that mark a row's stream as missing if all values are 0 or empty.
PRESENCE_INPUTS = ("audio_length", "video_mask", "text", "token_ids")


@dataclass(frozen=True)
class InputSpec:
    """Input format of a model; stored with it and reported to every client.

    Attributes:
      sample_rate_hz: of `audio`; None for a model without audio.
      face_size_px, face_channels: of `video`; None for a model without face crops.
      action_units: names of the values of `video`, if these replace face crops; else None. A list,
        because JSON returns lists.
    """

    sample_rate_hz: int | None = None
    face_size_px: int | None = None
    face_channels: int | None = None
    action_units: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.action_units is not None:
            object.__setattr__(self, "action_units", list(self.action_units) or None)

    @classmethod
    def of(cls, folder: DataFolder, stream: str) -> InputSpec:
        """Input format of one stream in the records of `folder`."""
        if stream == "text":
            return cls()
        if stream == "audio":
            return cls(sample_rate_hz=folder.sample_rate_hz)
        if folder.action_units is not None:
            return cls(action_units=folder.action_units.names)
        face = folder.crop_format
        return cls(face_size_px=face.size_px, face_channels=face.num_channels)

    def inputs(self, stream: str) -> dict[str, keras.KerasTensor]:
        """Keras inputs of one stream, by their standard names.

        Returns:
          `audio` (batch, samples) float32 in [-1, 1], `audio_length` (batch,) int32;
          `video` (batch, frames, height, width, channels) uint8, or (batch, frames, units) float32
          for action units, `video_mask` (batch, frames) bool; `text` (batch,) string, UTF-8.
        """
        if stream == "text":
            return {"text": keras.Input((), name="text", dtype="string")}
        if stream == "audio":
            return {
                "audio": keras.Input((None,), name="audio", dtype="float32"),
                "audio_length": keras.Input((), name="audio_length", dtype="int32"),
            }
        shape: tuple[int | None, ...] = (
            None,
            self.face_size_px,
            self.face_size_px,
            self.face_channels,
        )
        if self.action_units is not None:
            shape = (None, len(self.action_units))
        kind = "uint8" if self.action_units is None else "float32"
        return {
            "video": keras.Input(shape, name="video", dtype=kind),
            "video_mask": keras.Input((None,), name="video_mask", dtype="bool"),
        }
