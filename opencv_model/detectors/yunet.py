"""YuNet through OpenCV's own `cv2.FaceDetectorYN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from affectstream.core.errors import UserError
from affectstream.opencv_model.detectors.detector import DETECT_SIDE_PX, FaceBox, FaceDetector

# Measured: the lowest score of 73 real faces is 0.88, the highest of 150 images of structured noise
# 0.33, and 184 real frames without a face have none at 0.3.
MIN_SCORE = 0.6
MAX_OVERLAP = 0.3
MAX_CANDIDATES = 500


class YuNetDetector(FaceDetector):
    """Small anchor-free network: faces from about 1/20 of the image's longer side.

    Source: Wu, Peng & Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector"; weights of
    OpenCV Zoo, MIT licence.
    """

    name: ClassVar[str] = "yunet"

    def __init__(self, paths: Sequence[Path], max_side_px: int = DETECT_SIDE_PX) -> None:
        """Opens (model.onnx,).

        Raises:
          UserError: not a model that this OpenCV can read.
        """
        super().__init__(paths, max_side_px)
        self._size_px = (max_side_px, max_side_px)
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(self.paths[0]), "", self._size_px, MIN_SCORE, MAX_OVERLAP, MAX_CANDIDATES
            )
        except cv2.error as error:
            raise UserError(
                f"{self.paths[0]}: OpenCV {cv2.__version__} cannot read this model; "
                "replace it with a face_detection_yunet_*.onnx of OpenCV Zoo"
            ) from error

    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        height_px, width_px = picture.shape[:2]
        if self._size_px != (width_px, height_px):
            self._size_px = (width_px, height_px)
            self._net.setInputSize(self._size_px)
        _, found = self._net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if found is None:
            return []
        return [
            FaceBox(float(x), float(y), float(width), float(height), min(float(score), 1.0))
            for x, y, width, height, *_landmarks, score in found
        ]
