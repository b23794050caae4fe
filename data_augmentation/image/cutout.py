"""Cutout: hides a random rectangle of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from affectstream.data_augmentation.transform import (
    Parameters,
    VideoTransform,
    check_between,
    check_ordered,
)


@dataclass(frozen=True, kw_only=True)
class Cutout(VideoTransform):
    """Fills one rectangle, the same in all frames of a clip, with the clip's mean colour.

    Parameters of `apply`: `x_px`, `y_px` int, its left upper corner; `width_px`, `height_px` int.
    The part outside of the picture, if any, is ignored.

    Attributes:
      min_size_fraction, max_size_fraction: range of width and of height, each drawn on its own,
        as fractions of the picture's, in [0, 1].
    Source: DeVries & Taylor 2017, "Improved regularization of CNNs with cutout"; the mean
      in place of 0.
    """

    name: ClassVar[str] = "cutout"

    min_size_fraction: float = 0.1
    max_size_fraction: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_size_fraction", self.min_size_fraction, 0.0, 1.0)
        check_between("max_size_fraction", self.max_size_fraction, 0.0, 1.0)
        check_ordered(
            "min_size_fraction",
            self.min_size_fraction,
            "max_size_fraction",
            self.max_size_fraction,
        )

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws `x_px`, `y_px`, `width_px` and `height_px`, within the picture."""
        _, height, width, _ = frames.shape
        width_px = round(rng.uniform(self.min_size_fraction, self.max_size_fraction) * width)
        height_px = round(rng.uniform(self.min_size_fraction, self.max_size_fraction) * height)
        return {
            "x_px": int(rng.integers(width - width_px, endpoint=True)),
            "y_px": int(rng.integers(height - height_px, endpoint=True)),
            "width_px": width_px,
            "height_px": height_px,
        }

    def _apply(
        self, frames: np.ndarray, *, x_px: int, y_px: int, width_px: int, height_px: int
    ) -> np.ndarray:
        num_frames, height, width, channels = frames.shape
        mean = cv2.mean(frames.reshape(num_frames * height, width, channels))[:channels]
        left, right = max(0, x_px), max(0, x_px + width_px)
        top, bottom = max(0, y_px), max(0, y_px + height_px)
        covered = frames.copy()
        covered[:, top:bottom, left:right] = np.rint(mean).astype(np.uint8)
        return covered
