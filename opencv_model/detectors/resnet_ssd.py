"""OpenCV's ResNet-10 single-shot face detector through `cv2.dnn`, Caffe or TensorFlow form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from affectstream.core.errors import UserError
from affectstream.opencv_model.detectors.detector import DETECT_SIDE_PX, FaceBox, FaceDetector

INPUT_SIDE_PX = 300
MEAN_BGR = (104.0, 177.0, 123.0)

# Measured: the lowest score of 73 real faces is 0.58, the highest of 184 real frames without one
# 0.23. White noise stays below 0.45; 8 of 150 images of structured noise pass.
MIN_SCORE = 0.5


class ResNetSsdDetector(FaceDetector):
    """ResNet-10 SSD at 300x300: slow on a CPU, but finds faces from about 1/20 of the image.

    Source: Liu et al. 2016 (SSD); OpenCV samples/dnn/face_detector, trained by Aleksandr Rybnikov.
    """

    name: ClassVar[str] = "resnet_ssd"

    def __init__(self, paths: Sequence[Path], max_side_px: int = DETECT_SIDE_PX) -> None:
        """Opens (weights.pb, graph.pbtxt) or (weights.caffemodel, net.prototxt).

        Raises:
          UserError: not a network that this OpenCV can read.
        """
        super().__init__(paths, max_side_px)
        weights, graph = self.paths
        try:
            if weights.suffix == ".caffemodel":
                self._net = cv2.dnn.readNetFromCaffe(str(graph), str(weights))
            else:
                self._net = cv2.dnn.readNetFromTensorflow(str(weights), str(graph))
        except (cv2.error, AttributeError) as error:
            raise UserError(
                f"{weights}: OpenCV {cv2.__version__} cannot read this network with {graph.name}; "
                "fetch both again, or install opencv-contrib-python below 5"
            ) from error

    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        height_px, width_px = picture.shape[:2]
        blob = cv2.dnn.blobFromImage(
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), 1.0, (INPUT_SIDE_PX, INPUT_SIDE_PX), MEAN_BGR
        )
        self._net.setInput(blob)
        rows = self._net.forward().reshape(-1, 7)
        boxes = [
            FaceBox(
                float(left), float(top), float(right - left), float(bottom - top), float(score)
            ).clipped(1, 1)
            for _, _, score, left, top, right, bottom in rows
            if score > MIN_SCORE
        ]
        return [box.scaled(width_px, height_px) for box in boxes]
