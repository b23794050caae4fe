"""Detects and crops faces during decoding, so that no full image is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import av
import cv2
import numpy as np

from affectstream.opencv_model.detectors.detector import (
    FaceBox,
    FaceDetector,
    limit_image_size,
    reduced_size,
)
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.media.media_file import upright

# 8-bit formats whose first plane is the luma, and whether its range is 16-235.
_LIMITED_LUMA = frozenset(["yuv420p", "yuv422p", "yuv444p", "nv12", "nv21", "yuv411p", "yuv440p"])
_FULL_LUMA = frozenset(["yuvj420p", "yuvj422p", "yuvj444p", "gray"])
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_EXPAND_LUMA = np.clip(np.rint((np.arange(256) - 16.0) * 255 / 219), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Face:
    """One face of one frame: its box in the full image, and (size, size, channels) uint8."""

    box: FaceBox
    crop: np.ndarray


@dataclass(frozen=True)
class FrameFaces:
    """Faces of one frame.

    Attributes:
      faces: the largest first.
      content: bytes of the reduced image, to be hashed.
    """

    faces: tuple[Face, ...]
    content: bytes


class FrameAnalyzer(Protocol):
    """Finds the faces of each sampled frame while it is decoded."""

    def detect_frame(self, frame: av.VideoFrame) -> FrameFaces:
        """Faces of a decoded frame of any pixel format and rotation."""
        ...


class PictureAnalyzer(FrameAnalyzer, Protocol):
    """Finds the faces of still images as well."""

    def detect_image(self, picture: np.ndarray) -> FrameFaces:
        """Faces of an upright image, (H, W, 3) RGB or (H, W) grey uint8."""
        ...


class FaceFinder:
    """Detects and crops faces (a `PictureAnalyzer`).

    Args:
      detector: None if every image is a cropped face already; then the whole image is used.
      crop_format: size, colour and margin of the crops.
      max_faces: largest number of cropped faces per frame, the largest first.
    """

    def __init__(
        self, detector: FaceDetector | None, crop_format: CropFormat, max_faces: int = 4
    ) -> None:
        self._detector = detector
        self._format = crop_format
        self._max_faces = max_faces

    def detect_frame(self, frame: av.VideoFrame) -> FrameFaces:
        grey = self._format.color == "grey"
        full = upright(_luma(frame) if grey else frame.to_ndarray(format="rgb24"), frame)
        if self._detector is None:
            return self.detect_image(full)
        if self._detector.colors == "grey":
            return self._found(self._detector, full, _reduced_luma(full, self._detector))
        # The decoder's own scaler reduces the image without converting the full one.
        size = reduced_size(frame.width, frame.height, self._detector.max_side_px)
        small = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
        return self._found(self._detector, full, upright(small, frame))

    def detect_image(self, picture: np.ndarray) -> FrameFaces:
        if self._detector is not None:
            reduced = limit_image_size(picture, self._detector.max_side_px)
            return self._found(self._detector, picture, reduced)
        height_px, width_px = picture.shape[:2]
        side = min(height_px, width_px)
        whole = FaceBox((width_px - side) / 2, (height_px - side) / 2, side, side, 1.0)
        face = Face(whole, replace(self._format, margin=0.0).crop(picture, whole))
        return FrameFaces((face,), np.ascontiguousarray(picture).tobytes())

    def _found(self, detector: FaceDetector, full: np.ndarray, reduced: np.ndarray) -> FrameFaces:
        height_px, width_px = full.shape[:2]
        boxes = detector.detect_reduced(reduced, width_px, height_px)
        faces = tuple(Face(box, self._format.crop(full, box)) for box in boxes[: self._max_faces])
        return FrameFaces(faces, np.ascontiguousarray(reduced).tobytes())


def _reduced_luma(full: np.ndarray, detector: FaceDetector) -> np.ndarray:
    grey = full if full.ndim == 2 else cv2.cvtColor(full, cv2.COLOR_RGB2GRAY)
    return limit_image_size(grey, detector.max_side_px)


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) uint8 luma in 0-255; uses the frame's luma plane without a copy, if it has one."""
    known = frame.format.name
    if known not in _LIMITED_LUMA | _FULL_LUMA:
        return cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY)
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    grey = rows[: frame.height, : frame.width]
    if known in _FULL_LUMA or int(frame.color_range or 0) == _FULL_RANGE:
        return np.ascontiguousarray(grey)
    return cv2.LUT(np.ascontiguousarray(grey), _EXPAND_LUMA)
