"""Crops the square around a face and resizes it."""

from __future__ import annotations

import cv2
import numpy as np

from affectstream.opencv_model.detectors.detector import ColorMode, FaceBox, convert_colors


def square_crop(
    picture: np.ndarray,
    box: FaceBox,
    margin: float,
    size_px: int,
    color: ColorMode = "rgb",
) -> np.ndarray:
    """The square around a box's centre, at `size_px`.

    The side is the longer side of the box times (1 + 2 * margin). Outside the image, edge pixels
    are repeated. Area averaging shrinks, bilinear interpolation enlarges.

    Args:
      picture: (H, W, 3) uint8 RGB or (H, W) uint8 grey.
      box: in pixels of `picture`.
      margin: share of the box's longer side added on each side, 0 or more.
      size_px: side of the result.
      color: "rgb" or "grey".
    Returns:
      (size_px, size_px, 3) uint8 RGB or (size_px, size_px) uint8 grey, contiguous.
    Raises:
      ValueError: a negative margin or a size below 1.
    """
    if margin < 0 or size_px < 1:
        raise ValueError(f"margin must be >= 0 and size_px >= 1, received {margin} and {size_px}")
    side_px = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    left = round(box.x + (box.width - side_px) / 2)
    top = round(box.y + (box.height - side_px) / 2)
    region = _region(picture, left, top, side_px)
    if side_px != size_px:
        method = cv2.INTER_AREA if side_px > size_px else cv2.INTER_LINEAR
        region = cv2.resize(region, (size_px, size_px), interpolation=method)
    return (
        convert_colors(region, color).copy()
        if side_px == size_px
        else convert_colors(region, color)
    )


def _region(picture: np.ndarray, left: int, top: int, side_px: int) -> np.ndarray:
    """The square from (left, top), with repeated edges outside the image."""
    height_px, width_px = picture.shape[:2]
    is_inside = left >= 0 and top >= 0 and left + side_px <= width_px and top + side_px <= height_px
    if is_inside:
        return picture[top : top + side_px, left : left + side_px]
    rows = np.clip(np.arange(top, top + side_px), 0, height_px - 1)
    columns = np.clip(np.arange(left, left + side_px), 0, width_px - 1)
    return picture[rows[:, None], columns[None, :]]
