"""JPEG compression artefacts."""

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
class Jpeg(VideoTransform):
    """Compresses each frame with JPEG; each channel separately, so that chroma is not subsampled.

    Parameters of `apply`: `quality` int, as libjpeg counts it.

    Attributes:
      min_quality, max_quality: range of `quality`, in [1, 100].
    Source: ITU-T T.81 (the format).
    """

    name: ClassVar[str] = "jpeg"

    min_quality: int = 25
    max_quality: int = 90

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("min_quality", self.min_quality, 1, 100)
        check_between("max_quality", self.max_quality, 1, 100)
        check_ordered("min_quality", self.min_quality, "max_quality", self.max_quality)

    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws `quality`."""
        return {"quality": int(rng.integers(self.min_quality, self.max_quality, endpoint=True))}

    def _apply(self, frames: np.ndarray, *, quality: int) -> np.ndarray:
        changed = np.empty_like(frames)
        for place, frame in enumerate(frames):
            for channel in range(frame.shape[-1]):
                plane = np.ascontiguousarray(frame[:, :, channel])
                _, coded = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
                changed[place, :, :, channel] = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
        return changed
