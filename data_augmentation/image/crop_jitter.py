"""Random shift and zoom of the face crop."""

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
class CropJitter(VideoTransform):
    """Zooms about the centre and shifts the image; the edge is repeated where pixels are missing.

    One zoom and one shift for all frames of a clip, as from a detector that is a little off;
    bilinear. A whole shift at zoom 1 copies pixels exactly.

    Parameters of `apply`: `zoom` float above 0, larger is closer; `shift_x_px` float, above 0
    moves the picture right; `shift_y_px` float, above 0 moves it down.

    Attributes:
      min_zoom, max_zoom: range of the zoom, uniform, within [0.25, 4].
      max_shift_fraction: largest shift either way as a fraction of width and height, in [0, 0.5].
    """

    name: ClassVar[str] = "crop_jitter"

    min_zoom: float = 0.9
    max_zoom: float = 1.1
    max_shift_fraction: float = 0.06

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_zoom", self.min_zoom, 0.25, 4.0)
        check_between("max_zoom", self.max_zoom, 0.25, 4.0)
        check_ordered("min_zoom", self.min_zoom, "max_zoom", self.max_zoom)
        check_between("max_shift_fraction", self.max_shift_fraction, 0.0, 0.5)

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws `zoom`, `shift_x_px` and `shift_y_px`."""
        _, height, width, _ = frames.shape
        largest = self.max_shift_fraction
        return {
            "zoom": float(rng.uniform(self.min_zoom, self.max_zoom)),
            "shift_x_px": float(rng.uniform(-largest, largest) * width),
            "shift_y_px": float(rng.uniform(-largest, largest) * height),
        }

    def _apply(
        self, frames: np.ndarray, *, zoom: float, shift_x_px: float, shift_y_px: float
    ) -> np.ndarray:
        _, height, width, _ = frames.shape
        centre_x_px, centre_y_px = (width - 1) / 2, (height - 1) / 2
        to_source = np.array(
            [
                [1 / zoom, 0.0, centre_x_px - (centre_x_px + shift_x_px) / zoom],
                [0.0, 1 / zoom, centre_y_px - (centre_y_px + shift_y_px) / zoom],
            ]
        )
        moved = np.empty_like(frames)
        for index, frame in enumerate(frames):
            moved[index] = cv2.warpAffine(
                frame,
                to_source,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(frame.shape)
        return moved
