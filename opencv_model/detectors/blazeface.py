"""BlazeFace through MediaPipe Tasks.

MediaPipe wheels from 0.10.35 on report usage to play.googleapis.com (issue 6291 of its repository)
and have no option against it. Here this is visible as a name look-up when the detector opens.
According to that thread, no image is part of the report; its content cannot be read from here. To
prevent the report, block that host, or start with `https_proxy=http://127.0.0.1:9`, which its HTTP
client obeys. The other detectors open no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from affectstream.core.errors import UserError
from affectstream.core.tf_setup import suppress_native_stderr
from affectstream.opencv_model.detectors.detector import DETECT_SIDE_PX, FaceBox, FaceDetector
from affectstream.opencv_model.mediapipe_task import WARM_UP_SIDES_PX, MediaPipeTask, import_task

# Measured: the lowest score of 73 real faces is 0.80; the highest of 150 images of structured noise
# is 0.66, and of 184 real frames without a face 0.59.
MIN_SCORE = 0.7
MAX_OVERLAP = 0.3


class BlazeFaceDetector(FaceDetector):
    """BlazeFace short range, 128x128 input: near faces, from about 1/7 of the image width.

    Source: Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
    GPUs"; weights of MediaPipe, Apache 2.0.
    """

    name: ClassVar[str] = "blazeface"

    def __init__(self, paths: Sequence[Path], max_side_px: int = DETECT_SIDE_PX) -> None:
        """Opens (model.tflite,) and runs it a few times, so that its native logs come out muted.

        Raises:
          UserError: MediaPipe is not installed or lacks a system library, or cannot read the file.
        """
        super().__init__(paths, max_side_px)
        self._mediapipe, face_detector, base_options = import_task(
            "face_detector",
            "face detector blazeface needs",
            "pip install mediapipe, or choose another face detector",
        )
        options = face_detector.FaceDetectorOptions(
            base_options=base_options.BaseOptions(model_asset_path=str(self.paths[0])),
            min_detection_confidence=MIN_SCORE,
            min_suppression_threshold=MAX_OVERLAP,
        )
        try:
            with suppress_native_stderr():
                self._open = MediaPipeTask(
                    lambda: face_detector.FaceDetector.create_from_options(options)
                )
                for side_px in WARM_UP_SIDES_PX:
                    self._find(np.zeros((side_px, side_px, 3), np.uint8))
        except OSError as error:
            raise UserError(
                f"MediaPipe cannot start ({error}); install the packages libegl1 and libgles2, "
                "or choose another face detector"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.paths[0]}: MediaPipe cannot read this model; "
                "replace it with MediaPipe's blaze_face_short_range.tflite"
            ) from error

    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=picture)
        return [
            FaceBox(
                float(found.bounding_box.origin_x),
                float(found.bounding_box.origin_y),
                float(found.bounding_box.width),
                float(found.bounding_box.height),
                float(found.categories[0].score),
            )
            for found in self._open.task.detect(image).detections
        ]

    def close(self) -> None:
        self._open.close()
