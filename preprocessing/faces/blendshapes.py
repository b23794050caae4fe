"""Computes the blendshapes of each frame while decoding, so that no full image is kept."""

from __future__ import annotations

import av
import numpy as np

from affectstream.opencv_model.blendshapes import BlendshapeReader
from affectstream.opencv_model.detectors.detector import FaceBox, limit_image_size, reduced_size
from affectstream.preprocessing.faces.face_finder import Face, FrameFaces
from affectstream.preprocessing.media.media_file import upright

# Twice the detectors' size, because the landmark network needs the face itself.
BLENDSHAPE_SIDE_PX = 640


class BlendshapeFinder:
    """A `PictureAnalyzer`; the "crop" of a face is its (52,) float32 blendshapes."""

    def __init__(self, reader: BlendshapeReader) -> None:
        self._reader = reader

    def detect_frame(self, frame: av.VideoFrame) -> FrameFaces:
        # The decoder's own scaler reduces the image.
        size = reduced_size(frame.width, frame.height, BLENDSHAPE_SIDE_PX)
        small = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
        return self._found(upright(small, frame), max(frame.width, frame.height))

    def detect_image(self, picture: np.ndarray) -> FrameFaces:
        if picture.ndim == 2:
            picture = np.repeat(picture[:, :, None], 3, axis=2)
        return self._found(limit_image_size(picture, BLENDSHAPE_SIDE_PX), max(picture.shape[:2]))

    def _found(self, picture: np.ndarray, full_side_px: int) -> FrameFaces:
        scale = full_side_px / max(picture.shape[:2])
        faces = []
        for shape in self._reader.read(picture):
            box = shape.box
            whole = FaceBox(
                scale * box.x,
                scale * box.y,
                scale * box.width,
                scale * box.height,
                box.score,
            )
            faces.append(Face(whole, shape.values))
        return FrameFaces(tuple(faces), np.ascontiguousarray(picture).tobytes())
