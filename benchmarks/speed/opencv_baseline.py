"""Baseline of preprocessing: OpenCV, every third frame, Haar at full size, librosa.

Source: RAVDESS two-stream system, docs/reproduced_systems.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.opencv_model.detectors.haar import CASCADE
from affectstream.preprocessing.media.video.frame_sampling import (
    EVERY_THIRD_FIRST_FRAME,
    EVERY_THIRD_STEP,
)

SCALE_FACTOR = 1.1
MIN_NEIGHBORS = 3
CROP_SIDE_PX = 224
SOUND_RATE_HZ = 48_000
SOUND_OFFSET_S = 0.5
SOUND_DURATION_S = 3.0
NUM_MELS = 128


@dataclass(frozen=True)
class BaselineResult:
    """What the baseline gets from one clip.

    Attributes:
      boxes: the largest face of each frame looked at, None where there is none.
      crops: one (224, 224) uint8 for each face found.
      log_mel: (128, frames) float32.
    """

    boxes: list[FaceBox | None]
    crops: list[np.ndarray]
    log_mel: np.ndarray


def full_size_cascade() -> cv2.CascadeClassifier:
    """The cascade in OpenCV's wheel."""
    folder = Path(cv2.__file__).parent / "data"
    return cv2.CascadeClassifier(str(folder / CASCADE))


def open_capture(path: Path) -> cv2.VideoCapture:
    """A video opened by OpenCV with one decoding thread, by default it takes one a core."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)


def decode_alone(path: Path) -> int:
    """Decodes every frame and drops it; their number."""
    capture = open_capture(path)
    number = 0
    while capture.read()[0]:
        number += 1
    capture.release()
    return number


class OpencvBaseline:
    """Prepares one clip after the other; holds the cascade."""

    def __init__(self) -> None:
        self._cascade = full_size_cascade()

    def __call__(self, video: Path, wav: Path) -> BaselineResult:
        boxes: list[FaceBox | None] = []
        crops = []
        capture = open_capture(video)
        number = 0
        while True:
            is_there, picture = capture.read()
            if not is_there:
                break
            offset = number - EVERY_THIRD_FIRST_FRAME
            number += 1
            if offset < 0 or offset % EVERY_THIRD_STEP:
                continue
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            found = self._cascade.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS)
            if len(found) == 0:
                boxes.append(None)
                continue
            x, y, width, height = max(found, key=lambda box: box[2] * box[3])
            boxes.append(FaceBox(float(x), float(y), float(width), float(height), 1.0))
            crop = grey[y : y + height, x : x + width]
            crops.append(cv2.resize(crop, (CROP_SIDE_PX, CROP_SIDE_PX)))
        capture.release()
        return BaselineResult(boxes, crops, log_mel(wav))


def log_mel(wav: Path) -> np.ndarray:
    """(128, frames) float32, dB relative to the loudest bin."""
    import librosa

    sound, _ = librosa.load(wav, sr=SOUND_RATE_HZ, offset=SOUND_OFFSET_S, duration=SOUND_DURATION_S)
    mel = librosa.feature.melspectrogram(
        y=sound,
        sr=SOUND_RATE_HZ,
        n_fft=1024,
        hop_length=512,
        n_mels=NUM_MELS,
        fmin=50,
        fmax=SOUND_RATE_HZ / 2,
    )
    return librosa.power_to_db(mel, ref=np.max)
