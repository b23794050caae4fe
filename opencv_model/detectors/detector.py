"""Face detector: takes an image, returns boxes in its pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import cv2
import numpy as np

ColorMode = Literal["rgb", "grey"]

DETECT_SIDE_PX = 320
"""Longer side of the picture that is searched: a face of a tenth of it is still 32 px wide.

Smaller pictures are enlarged to it. Of 210 faces that fill pictures of 48 px (FER2013's PublicTest)
YuNet finds 13 as they are and 179 enlarged, of 160 px 159 and 190; Haar 81 and 146 of 48 px
(`benchmarks.speed.face_detectors --pictures`).
"""

SMALLEST_SIDE_PX = 16
"""Shorter side from which a picture is searched, before it is enlarged: no feature of a smaller
face can be told apart, and networks that pad such a strip to their stride see mostly padding (YuNet
has named a strip of one grey column a face, with score 0.7)."""


# === Box ===


@dataclass(frozen=True)
class FaceBox:
    """One face.

    Attributes:
      x, y: left and top edge in pixels of the full image.
      width, height: in pixels of the full image.
      score: confidence of the detector in [0, 1]; comparable within one detector only.
    """

    x: float
    y: float
    width: float
    height: float
    score: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    def iou(self, other: FaceBox) -> float:
        """Intersection over union with another box, in [0, 1]; 0 if both are empty."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        shared = max(width, 0.0) * max(height, 0.0)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def scaled(self, factor_x: float, factor_y: float) -> FaceBox:
        """The same face in an image `factor_x` times as wide and `factor_y` times as high."""
        return FaceBox(
            self.x * factor_x,
            self.y * factor_y,
            self.width * factor_x,
            self.height * factor_y,
            self.score,
        )

    def clipped(self, width_px: int, height_px: int) -> FaceBox:
        """The box clipped to an image of that size; width or height 0 if nothing is inside."""
        left, top = max(self.x, 0.0), max(self.y, 0.0)
        right = min(self.x + self.width, float(width_px))
        bottom = min(self.y + self.height, float(height_px))
        return FaceBox(left, top, max(right - left, 0.0), max(bottom - top, 0.0), self.score)


# === Reduction ===


def reduced_size(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """(width, height) of an image with its longer side limited to `max_side_px`, never enlarged."""
    scale = min(1.0, max_side_px / max(width_px, height_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def limit_image_size(picture: np.ndarray, max_side_px: int) -> np.ndarray:
    """Shrinks an image to at most `max_side_px` on its longer side.

    Bilinear instead of area averaging: from 1280x720 it takes 0.15 ms instead of 1.2 to 3.8, and
    every detector found the same faces in images and clips either way.

    Args:
      picture: (H, W, 3) or (H, W) uint8.
    Returns:
      (h, w, 3) or (h, w) uint8; the same image if it is small enough.
    """
    height_px, width_px = picture.shape[:2]
    size = reduced_size(width_px, height_px, max_side_px)
    if size == (width_px, height_px):
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def _enlarged(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Enlarges an image bilinearly to a longer side of at least `side_px`."""
    height_px, width_px = picture.shape[:2]
    scale = side_px / max(height_px, width_px)
    if scale <= 1:
        return picture
    size = round(width_px * scale), round(height_px * scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def convert_colors(picture: np.ndarray, colors: ColorMode) -> np.ndarray:
    """The image as (H, W, 3) RGB or (H, W) grey, contiguous uint8."""
    is_grey = picture.ndim == 2
    if colors == "grey":
        result = picture if is_grey else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    else:
        result = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if is_grey else picture
    return np.ascontiguousarray(result)


def _check(picture: np.ndarray) -> None:
    fits = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if not fits or picture.dtype != np.uint8 or picture.size == 0:
        raise ValueError(
            "picture must be (H, W, 3) RGB or (H, W) grey uint8 and not empty, "
            f"received {picture.shape} {picture.dtype}"
        )


# === Detector ===


class FaceDetector(ABC):
    """Finds upright faces. Not thread-safe; open one per process.

    Attributes:
      name: as in the registry.
      needs_weights: whether `affectstream.opencv_model.weights` must provide `paths`.
      colors: input colours of `_find`; other images are converted after reduction.
      paths: the weight files in use.
      max_side_px: longer side of the searched image.
    """

    name: ClassVar[str]
    colors: ClassVar[ColorMode] = "rgb"
    needs_weights: ClassVar[bool] = True

    def __init__(self, paths: Sequence[Path], max_side_px: int = DETECT_SIDE_PX) -> None:
        if max_side_px < 1:
            raise ValueError(f"max_side_px must be at least 1, received {max_side_px}")
        self.paths = tuple(Path(path) for path in paths)
        self.max_side_px = max_side_px

    @abstractmethod
    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        """Boxes in pixels of `picture`, in any order; its longer side has `max_side_px`."""

    def detect(self, picture: np.ndarray) -> list[FaceBox]:
        """Faces of an image, largest first.

        Args:
          picture: (H, W, 3) uint8 RGB or (H, W) uint8 grey.
        Returns:
          Boxes in pixels of `picture`, inside it, sorted by area descending (then score, then
          position, so that the order is deterministic). Empty if no face is found, and for images
          under `SMALLEST_SIDE_PX` after reduction.
        Raises:
          ValueError: another shape or dtype, or no pixels.
        """
        _check(picture)
        height_px, width_px = picture.shape[:2]
        return self.detect_reduced(limit_image_size(picture, self.max_side_px), width_px, height_px)

    def detect_reduced(
        self, picture: np.ndarray, full_width_px: int, full_height_px: int
    ) -> list[FaceBox]:
        """As `detect`, for an image that is already reduced (by the decoder's own scaler).

        Args:
          picture: (h, w, 3) uint8 RGB or (h, w) uint8 grey, enlarged to `max_side_px`.
          full_width_px, full_height_px: size of the full image, in whose pixels boxes are returned.
        """
        _check(picture)
        height_px, width_px = picture.shape[:2]
        if min(height_px, width_px) < SMALLEST_SIDE_PX:
            return []
        searched = _enlarged(convert_colors(picture, self.colors), self.max_side_px)
        factors = full_width_px / searched.shape[1], full_height_px / searched.shape[0]
        boxes = [
            box.scaled(*factors).clipped(full_width_px, full_height_px)
            for box in self._find(searched)
        ]
        boxes = [box for box in boxes if box.area > 0]
        return sorted(boxes, key=lambda box: (-box.area, -box.score, box.x, box.y))

    def close(self) -> None:  # noqa: B027 - most detectors hold nothing to free
        """Frees what the detector holds; it cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
