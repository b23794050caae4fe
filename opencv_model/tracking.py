"""Face track: one face followed over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from affectstream.opencv_model.crops import square_crop
from affectstream.opencv_model.detectors.detector import ColorMode, FaceBox

TrackingMode = Literal["largest", "tracked"]

MIN_IOU = 0.3
"""Overlap from which a box is the same face as in the frame before."""

DEFAULT_MARGIN = 0.1


# === Crop ===


@dataclass(frozen=True)
class CropFormat:
    """Format of face crops.

    Attributes:
      size_px: side of a crop.
      color: "rgb" or "grey".
      margin: share of the box's longer side added on each side.
    """

    size_px: int
    color: ColorMode = "rgb"
    margin: float = DEFAULT_MARGIN

    @property
    def num_channels(self) -> int:
        """Channels of a crop: 3 for RGB, 1 for grey."""
        return 3 if self.color == "rgb" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a crop."""
        return (self.size_px, self.size_px, self.num_channels)

    def crop(self, picture: np.ndarray, box: FaceBox) -> np.ndarray:
        """(size_px, size_px, C) uint8 crop from an image."""
        crop = square_crop(picture, box, self.margin, self.size_px, self.color)
        return crop.reshape(self.size_px, self.size_px, -1)


# === One face ===


@dataclass
class FaceTracker:
    """Picks one face per frame.

    Attributes:
      mode: "largest" takes the largest box of each frame; "tracked" takes the box that overlaps
        most with the last one, or the largest if no overlap is sufficient.
      min_iou: smallest overlap of the same face.
    """

    mode: TrackingMode = "tracked"
    min_iou: float = MIN_IOU
    _last: FaceBox | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in ("largest", "tracked"):
            raise ValueError(f"mode must be 'largest' or 'tracked', received {self.mode!r}")

    def choose(self, boxes: Sequence[FaceBox]) -> FaceBox | None:
        """Chooses one of a frame's boxes, sorted by size; None without boxes."""
        if not boxes:
            return None
        chosen = max(boxes, key=lambda box: box.area)
        if self.mode == "tracked" and self._last is not None:
            last = self._last
            nearest = max(boxes, key=last.iou)
            if nearest.iou(last) >= self.min_iou:
                chosen = nearest
        self._last = chosen
        return chosen

    def reset(self) -> None:
        """Forgets the last face, before another clip."""
        self._last = None


def assign_boxes(
    last_boxes: Sequence[FaceBox], boxes: Sequence[FaceBox], min_iou: float = MIN_IOU
) -> list[int | None]:
    """For each box the index of the track it continues, or None: greedy, best overlap first.

    Args:
      last_boxes: the last box of each track.
      boxes: the boxes of the next frame.
      min_iou: smallest overlap.
    """
    pairs = sorted(
        (-box.iou(last), b, t) for b, box in enumerate(boxes) for t, last in enumerate(last_boxes)
    )
    assigned: list[int | None] = [None] * len(boxes)
    taken: set[int] = set()
    for negative_iou, b, t in pairs:
        if -negative_iou >= min_iou and assigned[b] is None and t not in taken:
            assigned[b] = t
            taken.add(t)
    return assigned
