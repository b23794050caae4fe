"""Face track: one face followed over the frames of a clip."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from opencv_model.crop import square_crop
from opencv_model.detector import Colors, FaceBox, FaceDetector

Mode = Literal["largest", "tracked"]

MIN_IOU = 0.3
"""Overlap from which a box is the same face as in the frame before."""

MARGIN = 0.2
MIN_SHARE = 0.1


# === Track ===


@dataclass(frozen=True)
class FaceTrack:
    """One face over T frames; a frame without it holds zeros and is masked.

    Attributes:
      crops: (T, size, size, C) uint8, C = 3 (RGB) or 1 (grey).
      mask: (T,) bool, True where the face was found.
      boxes: (T, 4) float32 x, y, width, height in pixels of the full picture.
    """

    crops: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray

    @property
    def num_found(self) -> int:
        """Frames with the face."""
        return int(self.mask.sum())

    @property
    def num_missing(self) -> int:
        """Frames without it."""
        return len(self.mask) - self.num_found

    @property
    def coverage(self) -> float:
        """Share of frames with the face, in [0, 1]; 0 for no frames."""
        return self.num_found / len(self.mask) if len(self.mask) else 0.0


@dataclass(frozen=True)
class CropFormat:
    """How crops are cut.

    Attributes:
      size_px: side of a crop.
      color: "rgb" or "grey".
      margin: share of the box's longer side added on each side.
    """

    size_px: int
    color: Colors = "rgb"
    margin: float = MARGIN

    @property
    def num_channels(self) -> int:
        """Channels of a crop: 3 for RGB, 1 for grey."""
        return 3 if self.color == "rgb" else 1

    def crop(self, picture: np.ndarray, box: FaceBox) -> np.ndarray:
        """(size_px, size_px, C) uint8 of a picture."""
        crop = square_crop(picture, box, self.margin, self.size_px, self.color)
        return crop.reshape(self.size_px, self.size_px, -1)


# === One face ===


@dataclass
class FaceTracker:
    """Picks one face a frame.

    Attributes:
      mode: "largest" takes the largest box of each frame; "tracked" goes on with the box that
        overlaps the last one taken most, and takes the largest where none overlaps enough.
      min_iou: overlap from which a box is the same face.
    """

    mode: Mode = "tracked"
    min_iou: float = MIN_IOU
    _last: FaceBox | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in ("largest", "tracked"):
            raise ValueError(f"mode must be 'largest' or 'tracked', received {self.mode!r}")

    def choose(self, boxes: Sequence[FaceBox]) -> FaceBox | None:
        """The box to take of one frame's, largest first; None where there are none."""
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


def face_track(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    tracker: FaceTracker,
    crop_format: CropFormat,
    reduced: Iterable[np.ndarray] | None = None,
) -> FaceTrack:
    """Follows one face through a clip, in one pass over the frames.

    Args:
      frames: T pictures, (H, W, 3) uint8 RGB or (H, W) uint8 grey.
      detector: finds the faces.
      tracker: picks one a frame; it is reset first.
      crop_format: size, colour and margin of the crops.
      reduced: the same T pictures already small, to detect on; None to reduce them here.
    Returns:
      The track; a frame without a face is zeros with mask False, never left out.
    Raises:
      ValueError: a frame of another shape or dtype, or not as many `reduced` as `frames`.
    """
    tracker.reset()
    crops: dict[int, np.ndarray] = {}
    boxes: dict[int, FaceBox] = {}
    num_frames = 0
    for index, (frame, found) in enumerate(_detect_each(frames, detector, reduced)):
        num_frames = index + 1
        box = tracker.choose(found)
        if box is not None:
            boxes[index] = box
            crops[index] = crop_format.crop(frame, box)
    return _assemble(crops, boxes, num_frames, crop_format)


# === All faces ===


@dataclass
class _OpenTrack:
    crops: dict[int, np.ndarray] = field(default_factory=dict)
    boxes: dict[int, FaceBox] = field(default_factory=dict)

    @property
    def last(self) -> FaceBox:
        return next(reversed(self.boxes.values()))


def all_face_tracks(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    crop_format: CropFormat,
    reduced: Iterable[np.ndarray] | None = None,
    min_iou: float = MIN_IOU,
    min_share: float = MIN_SHARE,
) -> list[FaceTrack]:
    """Follows every face through a clip, in one pass; each box goes to one track at most.

    Args:
      frames, detector, crop_format, reduced: as in `face_track`.
      min_iou: overlap with a track's last box from which a box continues it; else it starts one.
      min_share: share of the frames that a track must hold to be returned.
    Returns:
      Tracks over all T frames, the one of the largest total area first; empty where no face is.
    """
    tracks: list[_OpenTrack] = []
    num_frames = 0
    for index, (frame, found) in enumerate(_detect_each(frames, detector, reduced)):
        num_frames = index + 1
        assigned = assign_boxes([track.last for track in tracks], found, min_iou)
        for box, place in zip(found, assigned, strict=True):
            if place is None:
                tracks.append(_OpenTrack())
            track = tracks[-1 if place is None else place]
            track.boxes[index] = box
            track.crops[index] = crop_format.crop(frame, box)
    kept = [track for track in tracks if len(track.boxes) >= min_share * num_frames]
    kept.sort(key=lambda track: -sum(box.area for box in track.boxes.values()))
    return [_assemble(track.crops, track.boxes, num_frames, crop_format) for track in kept]


def assign_boxes(
    lasts: Sequence[FaceBox], boxes: Sequence[FaceBox], min_iou: float = MIN_IOU
) -> list[int | None]:
    """For each box the index of the track it continues, or None: greedy, best overlap first.

    Args:
      lasts: the last box of each track.
      boxes: the boxes of the next frame.
      min_iou: least overlap.
    """
    pairs = sorted(
        (-box.iou(last), b, t) for b, box in enumerate(boxes) for t, last in enumerate(lasts)
    )
    assigned: list[int | None] = [None] * len(boxes)
    taken: set[int] = set()
    for negative_iou, b, t in pairs:
        if -negative_iou >= min_iou and assigned[b] is None and t not in taken:
            assigned[b] = t
            taken.add(t)
    return assigned


# === Shared ===


def _detect_each(
    frames: Iterable[np.ndarray], detector: FaceDetector, reduced: Iterable[np.ndarray] | None
) -> Iterator[tuple[np.ndarray, list[FaceBox]]]:
    if reduced is None:
        for frame in frames:
            yield frame, detector.detect(frame)
        return
    for frame, small in itertools.zip_longest(frames, reduced):
        if frame is None or small is None:
            raise ValueError("frames and reduced must be equally many")
        height_px, width_px = frame.shape[:2]
        yield frame, detector.detect_reduced(small, width_px, height_px)


def _assemble(
    crops: dict[int, np.ndarray],
    boxes: dict[int, FaceBox],
    num_frames: int,
    crop_format: CropFormat,
) -> FaceTrack:
    num_channels = 3 if crop_format.color == "rgb" else 1
    side_px = crop_format.size_px
    all_crops = np.zeros((num_frames, side_px, side_px, num_channels), np.uint8)
    all_boxes = np.zeros((num_frames, 4), np.float32)
    mask = np.zeros(num_frames, bool)
    for index, box in boxes.items():
        all_crops[index] = crops[index]
        all_boxes[index] = (box.x, box.y, box.width, box.height)
        mask[index] = True
    return FaceTrack(all_crops, mask, all_boxes)
