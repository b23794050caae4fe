"""Pads audio and frames of any length to one batch of model inputs, for evaluation and serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def pad_audio(sounds: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
    """Stacks waveforms, padded with zeros.

    Args:
      sounds: (samples,) float32 each; None if the stream is missing.
    Returns:
      `audio` (rows, samples) float32, at least one sample wide, and `audio_length` (rows,) int32.
    """
    lengths = [0 if sound is None else len(sound) for sound in sounds]
    audio = np.zeros((len(sounds), max(1, *lengths)), np.float32)
    for row, sound in enumerate(sounds):
        if sound is not None:
            audio[row, : len(sound)] = sound
    return {"audio": audio, "audio_length": np.array(lengths, np.int32)}


def pad_frames(
    frames: Sequence[Sequence[np.ndarray | None]], shape: Sequence[int], dtype: Any
) -> dict[str, np.ndarray]:
    """Stacks frames; frames without a face and padding are masked.

    Args:
      frames: for each row its frames' values; None where no face was found.
      shape, dtype: shape and dtype of one frame's values.
    Returns:
      `video` (rows, T, *shape), at least one frame wide, and `video_mask` (rows, T) bool.
    """
    most = max(1, *map(len, frames))
    video: np.ndarray = np.zeros((len(frames), most, *shape), dtype)
    mask = np.zeros((len(frames), most), bool)
    for row, shown in enumerate(frames):
        for column, one in enumerate(shown):
            if one is not None:
                video[row, column], mask[row, column] = one, True
    return {"video": video, "video_mask": mask}
