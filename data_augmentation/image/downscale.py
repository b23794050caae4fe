"""Lower resolution: shrinks the face image and enlarges it again."""

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
class Downscale(VideoTransform):
    """Reduces the frames (mean over areas) and enlarges them again (linear), the same in all.

    Parameters of `apply`: `scale` float in (0, 1], the reduced size as a fraction; a side keeps one
    pixel at least.

    Attributes:
      min_scale, max_scale: range of `scale`, each in [0.05, 1].
    """

    name: ClassVar[str] = "downscale"

    min_scale: float = 0.4
    max_scale: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_scale", self.min_scale, 0.05, 1.0)
        check_between("max_scale", self.max_scale, 0.05, 1.0)
        check_ordered("min_scale", self.min_scale, "max_scale", self.max_scale)

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws `scale`."""
        return {"scale": float(rng.uniform(self.min_scale, self.max_scale))}

    def _apply(self, frames: np.ndarray, *, scale: float) -> np.ndarray:
        _, height, width, _ = frames.shape
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        changed = np.empty_like(frames)
        for place, frame in enumerate(frames):
            reduced = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
            again = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)
            changed[place] = again.reshape(frame.shape)
        return changed
