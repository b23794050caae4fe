"""Random brightness and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from affectstream.data_augmentation.transform import Parameters, VideoTransform, check_between

_MIDDLE_GREY = 127.5


@dataclass(frozen=True, kw_only=True)
class Brightness(VideoTransform):
    """Changes brightness and contrast: (value - 127.5) * contrast + 127.5 + 255 * brightness.

    Rounded and held within [0, 255]; one table of 256 values for all frames and channels.

    Parameters of `apply`: `brightness` float, a fraction of full white, above 0 lighter;
    `contrast` float from 0, 1 leaves it.

    Attributes:
      max_brightness: largest change of brightness either way, in [0, 1].
      max_contrast: largest change of contrast either way from 1, in [0, 1].
    """

    name: ClassVar[str] = "brightness"

    max_brightness: float = 0.15
    max_contrast: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("max_brightness", self.max_brightness, 0.0, 1.0)
        check_between("max_contrast", self.max_contrast, 0.0, 1.0)

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws `brightness` and `contrast`."""
        return {
            "brightness": float(rng.uniform(-self.max_brightness, self.max_brightness)),
            "contrast": float(1.0 + rng.uniform(-self.max_contrast, self.max_contrast)),
        }

    def _apply(self, frames: np.ndarray, *, brightness: float, contrast: float) -> np.ndarray:
        values = (np.arange(256) - _MIDDLE_GREY) * contrast + _MIDDLE_GREY + 255.0 * brightness
        table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return cv2.LUT(frames.reshape(frames.shape[0], -1), table).reshape(frames.shape)
