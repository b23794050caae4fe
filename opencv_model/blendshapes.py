"""Blendshapes through MediaPipe Tasks: 52 coefficients of facial expression.

MediaPipe reports its usage, see `affectstream.opencv_model.detectors.blazeface`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectstream.core.errors import UserError
from affectstream.core.tf_setup import suppress_native_stderr
from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.opencv_model.mediapipe_task import WARM_UP_SIDES_PX, MediaPipeTask, import_task
from affectstream.opencv_model.weights import find_weights

WEIGHTS = "blendshapes"
MAX_FACES = 4
# As for BlazeFace, which detects the faces inside.
MIN_SCORE = 0.7

_PAIRED = (
    ("browDown", 1),
    ("browInnerUp", 0),
    ("browOuterUp", 1),
    ("cheekPuff", 0),
    ("cheekSquint", 1),
    ("eyeBlink", 1),
    ("eyeLookDown", 1),
    ("eyeLookIn", 1),
    ("eyeLookOut", 1),
    ("eyeLookUp", 1),
    ("eyeSquint", 1),
    ("eyeWide", 1),
)
_MOUTH = (
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)

BLENDSHAPES: tuple[str, ...] = (
    "_neutral",
    *(
        name
        for stem, is_paired in _PAIRED
        for name in ((f"{stem}Left", f"{stem}Right") if is_paired else (stem,))
    ),
    *_MOUTH,
)
"""Names of the 52 values, in MediaPipe's order."""


@dataclass(frozen=True)
class FaceBlendshapes:
    """One face of an image.

    Attributes:
      box: around its landmarks, in pixels of the image.
      values: (52,) float32 in [0, 1], named by `BLENDSHAPES`.
    """

    box: FaceBox
    values: np.ndarray


class BlendshapeReader:
    """MediaPipe `FaceLandmarker` on single pictures; in a pool, open one in every worker process.

    Source: Grishchenko et al. 2022, "Blendshapes GHUM: Real-time Monocular Facial Blendshape
    Prediction"; weights of MediaPipe, Apache 2.0.
    """

    def __init__(self, path: Path) -> None:
        """Opens a `.task` file and runs it a few times, so that its native logs come out muted.

        Raises:
          UserError: MediaPipe is not installed or lacks a system library, or cannot read the file.
        """
        self._mediapipe, landmarker, base_options = import_task(
            "face_landmarker",
            "blendshapes need",
            "pip install mediapipe, or give a table of OpenFace with --action-units FILE",
        )
        options = landmarker.FaceLandmarkerOptions(
            base_options=base_options.BaseOptions(model_asset_path=str(path)),
            num_faces=MAX_FACES,
            min_face_detection_confidence=MIN_SCORE,
            output_face_blendshapes=True,
        )
        try:
            with suppress_native_stderr():
                self._open = MediaPipeTask(
                    lambda: landmarker.FaceLandmarker.create_from_options(options)
                )
                for side_px in WARM_UP_SIDES_PX:
                    self.read(np.zeros((side_px, side_px, 3), np.uint8))
        except OSError as error:
            raise UserError(
                f"MediaPipe cannot start ({error}); install the packages libegl1 and libgles2"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{path}: MediaPipe cannot read this model; replace it with MediaPipe's"
                " face_landmarker.task"
            ) from error

    def read(self, picture: np.ndarray) -> tuple[FaceBlendshapes, ...]:
        """Faces of an upright (H, W, 3) uint8 RGB image, the largest first."""
        height_px, width_px = picture.shape[:2]
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        found = self._open.task.detect(image)
        shapes = []
        for points, scores in zip(found.face_landmarks, found.face_blendshapes, strict=True):
            corners = np.array([(point.x * width_px, point.y * height_px) for point in points])
            left, top = map(float, corners.min(axis=0))
            right, bottom = map(float, corners.max(axis=0))
            by_name = {score.category_name: score.score for score in scores}
            values = np.array([by_name[name] for name in BLENDSHAPES], np.float32)
            shapes.append(
                FaceBlendshapes(FaceBox(left, top, right - left, bottom - top, 1.0), values)
            )
        return tuple(sorted(shapes, key=lambda one: -one.box.width * one.box.height))

    def close(self) -> None:
        self._open.close()


def open_blendshapes(weights_dir: str | os.PathLike[str] | None = None) -> BlendshapeReader:
    """Opens the reader with weights from the user's folder or the cache, fetched if necessary.

    Raises:
      UserError: weights missing, not reachable or wrong, or MediaPipe missing.
    """
    (path,) = find_weights(WEIGHTS, weights_dir)
    return BlendshapeReader(path)
