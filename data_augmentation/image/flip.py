"""Horizontal flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from affectstream.data_augmentation.transform import Parameters, VideoTransform


@dataclass(frozen=True, kw_only=True)
class Flip(VideoTransform):
    """Mirrors every frame of a clip left to right; `apply` takes no parameter."""

    name: ClassVar[str] = "flip"

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws nothing: the clip is mirrored or, by `probability`, it is not."""
        return {}

    def _apply(self, frames: np.ndarray) -> np.ndarray:
        num_frames, height, width, channels = frames.shape
        rows = frames.reshape(num_frames * height, width, channels)
        return cv2.flip(rows, 1).reshape(frames.shape)
