"""Renders the frames of a speaker's talking face from its expression and pose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affectstream.preprocessing.synthetic.emotions import FaceStyle
from affectstream.preprocessing.synthetic.facial_features import (
    draw_brow,
    draw_eye,
    draw_glasses,
    draw_mouth,
)
from affectstream.preprocessing.synthetic.head import (
    CANVAS_HEIGHT_PX,
    CANVAS_WIDTH_PX,
    CENTRE_X_PX,
    EYE_LINE_PX,
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    NOSE_BASE_Y,
    UNIT_PX,
    FloatArray,
    make_head,
    soft_noise,
)
from affectstream.preprocessing.synthetic.speakers import Speaker

_HEAD_SCALE = 0.84
_HEAD_X_PX, _HEAD_Y_PX = 240.0, 168.0  # where the middle of the head rests in the frame
_AREA = slice(90, 390)  # columns that the head never leaves
_NUM_NOISE_FRAMES = 4
_REDRAW_EVERY = 2
_JAW_ROW = round(EYE_LINE_PX + NOSE_BASE_Y * UNIT_PX)


@dataclass(frozen=True)
class FacePose:
    """What the face does in one frame.

    Attributes:
      style: action units at this moment.
      opening, rounding: of the lips by speech, 0 to 1.
      blink: 0 open to 1 shut.
      gaze: direction of the eyes, face units.
      shift_px: movement of the head in the frame, x and y.
      roll_deg: tilt, above 0 clockwise.
      yaw, pitch: turning, -1 to 1 is about 15 degrees.
      zoom: ratio of size.
    """

    style: FaceStyle
    opening: float = 0.0
    rounding: float = 0.0
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    shift_px: tuple[float, float] = (0.0, 0.0)
    roll_deg: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0


class FaceArtist:
    """Draws the frames of one speaker.

    Args:
      seed: of the corpus.
      speaker: who is drawn.
    """

    def __init__(self, seed: int, speaker: Speaker):
        self.speaker = speaker
        self.head = make_head(seed, speaker)
        self._behind = np.ascontiguousarray(self.head.backdrop[:, _AREA])
        self._bias = np.full_like(self.head.backdrop, 3)
        rng = np.random.default_rng([seed, 32, speaker.actor])
        self._strands = soft_noise(rng, (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX), 1.2, 0.7)
        shape = (_NUM_NOISE_FRAMES, FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3)
        grain = rng.standard_normal(shape[1:], np.float32)
        self._noise = [
            np.rint(3.0 + 1.6 * np.roll(grain, 37 * index, axis=(0, 1))).clip(0, 9).astype(np.uint8)
            for index in range(_NUM_NOISE_FRAMES)
        ]

    def canvas(self, moment: FacePose) -> FloatArray:
        """The head before turning and placing, (3, 344, 264) float32 RGB 0 to 255."""
        style, speaker, head = moment.style, self.speaker, self.head
        shade = np.ones(head.skin.shape[1:], np.float32)
        for name, layer in head.creases.items():
            strength = float(np.clip(getattr(style, name), 0, 1.3))
            if strength > 0.02:
                cv2.scaleAdd(layer, strength, shade, shade)
        picture = head.skin * shade
        for side in (-1, 1):
            draw_eye(picture, speaker, style, side, moment.blink, moment.gaze)
            draw_brow(picture, speaker, style, side, self._strands)
        draw_mouth(picture, speaker, style, self._opening(moment), moment.rounding)
        if speaker.has_glasses:
            draw_glasses(picture, speaker)
        return np.asarray(picture, np.float32)

    @staticmethod
    def _opening(moment: FacePose) -> float:
        """Gap between the lips, 0 to 1: the dropped jaw and speech add up, pressing closes."""
        style = moment.style
        speech = 0.42 * moment.opening * (1 - 0.35 * style.press)
        return float(np.clip(0.55 * max(style.jaw, 0) + speech + 0.1 * style.smile - 0.02, 0, 0.9))

    def _layers(self, moment: FacePose) -> NDArray[np.uint8]:
        """The head with its jaw dropped and its cover of what is behind, (344, 264, 4) uint8."""
        layers = cv2.merge([*map(cv2.convertScaleAbs, self.canvas(moment)), self.head.alpha])
        drop = round(10 * (max(moment.style.jaw, 0) * 0.9 + 0.4 * moment.opening))
        if drop:
            lower = layers[_JAW_ROW : CANVAS_HEIGHT_PX - drop]
            size = (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX - _JAW_ROW)
            layers = np.concatenate([layers[:_JAW_ROW], cv2.resize(lower, size)])
        return np.asarray(layers, np.uint8)

    def frames(self, moments: Iterable[FacePose]) -> Iterator[NDArray[np.uint8]]:
        """Frames of a clip, (360, 480, 3) uint8 RGB each.

        The head moves in every frame; the face is drawn anew in every second one, which halves
        the work and, at 25 frames a second, does not show.
        """
        for index, moment in enumerate(moments):
            if index % _REDRAW_EVERY == 0:
                layers = self._layers(moment)
            yield self._frame(layers, moment, index)

    def _frame(self, layers: NDArray[np.uint8], moment: FacePose, index: int) -> NDArray[np.uint8]:
        """Places the head in the frame and adds camera noise."""
        size = (_AREA.stop - _AREA.start, FRAME_HEIGHT_PX)
        placed = cv2.warpPerspective(layers, self._pose(moment), size, flags=cv2.INTER_LINEAR)
        alpha = cv2.extractChannel(placed, 3).astype(np.float32) * np.float32(1 / 255)
        head = cv2.cvtColor(placed, cv2.COLOR_RGBA2RGB)
        frame = self.head.backdrop.copy()
        frame[:, _AREA] = cv2.blendLinear(head, self._behind, alpha, 1 - alpha)
        noise = self._noise[index % _NUM_NOISE_FRAMES]
        return np.asarray(cv2.subtract(cv2.add(frame, noise), self._bias), np.uint8)

    @staticmethod
    def _pose(moment: FacePose) -> NDArray[np.float64]:
        """The 3 x 3 map from the canvas to `_AREA` of the frame."""
        middle_y = EYE_LINE_PX + 0.2 * UNIT_PX
        centre = np.array([[1, 0, -CENTRE_X_PX], [0, 1, -middle_y], [0, 0, 1]])
        turn = np.eye(3)
        turn[0, 0] -= 0.03 * abs(moment.yaw)
        turn[2, 0], turn[2, 1] = 0.0005 * moment.yaw, 0.0005 * moment.pitch
        angle, size = np.deg2rad(moment.roll_deg), _HEAD_SCALE * moment.zoom
        cos, sin = size * np.cos(angle), size * np.sin(angle)
        x = _HEAD_X_PX - _AREA.start + moment.shift_px[0]
        y = _HEAD_Y_PX + moment.shift_px[1]
        place = np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])
        return np.asarray(place @ turn @ centre, np.float64)
