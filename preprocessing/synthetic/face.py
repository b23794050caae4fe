"""Draws the frames of a speaker's talking face: brows, eyes and mouth by expression, and pose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affectstream.preprocessing.synthetic.emotions import FaceStyle
from affectstream.preprocessing.synthetic.head import (
    CANVAS_HEIGHT_PX,
    CANVAS_WIDTH_PX,
    CENTRE_X_PX,
    EYE_LINE_PX,
    EYE_X,
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    MOUTH_Y,
    NOSE_BASE_Y,
    UNIT_PX,
    make_head,
)
from affectstream.preprocessing.synthetic.speakers import Speaker

Points = NDArray[np.float64]
Picture = NDArray[np.uint8]
_HEAD_SCALE = 0.84
_HEAD_X_PX, _HEAD_Y_PX = 240.0, 168.0  # where the middle of the head rests in the frame
_REDRAW_EVERY = 2
_JAW_ROW = round(EYE_LINE_PX + NOSE_BASE_Y * UNIT_PX)
_SHIFT = 4  # bits below the pixel in coordinates that OpenCV draws at
_ARC = np.linspace(-1.0, 1.0, 17)
_BROW_Y = -0.29


@dataclass(frozen=True)
class FacePose:
    """What the face does in one frame.

    Attributes:
      style: action units at this moment.
      opening, rounding: of the lips by speech, 0 to 1.
      blink: 0 open to 1 shut.
      gaze: direction of the eyes to the side, face units.
      shift_px: movement of the head in the frame, x and y.
      roll_deg: tilt, above 0 clockwise.
      zoom: ratio of size.
    """

    style: FaceStyle
    opening: float = 0.0
    rounding: float = 0.0
    blink: float = 0.0
    gaze: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    roll_deg: float = 0.0
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
        rng = np.random.default_rng([seed, 32, speaker.actor])
        grain = rng.normal(3.0, 1.6, self.head.backdrop.shape)
        self._noise = np.rint(grain).clip(0, 9).astype(np.uint8)
        self._bias = np.full_like(self._noise, 3)

    def frames(self, moments: Iterable[FacePose]) -> Iterator[Picture]:
        """Frames of a clip, (360, 480, 3) uint8 RGB each.

        The head moves in every frame; the face is drawn anew in every second one, which halves
        the work and, at 25 frames per second, does not show.
        """
        for index, moment in enumerate(moments):
            if index % _REDRAW_EVERY == 0:
                layers = self._layers(moment)
            yield self._frame(layers, moment, index)

    def _layers(self, moment: FacePose) -> Picture:
        """The head with its jaw dropped and its cover of what is behind, (344, 264, 4) uint8."""
        style, head = moment.style, self.head
        shade = np.ones_like(head.skin[..., :1])
        for name, layer in head.creases.items():
            shade += float(np.clip(getattr(style, name), 0, 1.3)) * layer
        picture = np.asarray(cv2.convertScaleAbs(head.skin * shade), np.uint8)
        for side in (-1, 1):
            _draw_eye(picture, self.speaker, moment, side)
            _draw_brow(picture, self.speaker, style, side)
        _draw_mouth(picture, self.speaker, moment)
        soft = cv2.GaussianBlur(picture, (3, 3), 0.7)
        layers = cv2.merge([*cv2.split(soft), head.alpha])
        drop = round(10 * (max(style.jaw, 0) * 0.9 + 0.4 * moment.opening))
        lower = layers[_JAW_ROW : CANVAS_HEIGHT_PX - drop]
        size = (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX - _JAW_ROW)
        return np.concatenate([layers[:_JAW_ROW], cv2.resize(lower, size)]).astype(np.uint8)

    def _frame(self, layers: Picture, moment: FacePose, index: int) -> Picture:
        """Places the head in the frame and adds camera noise."""
        middle = np.array([CENTRE_X_PX, EYE_LINE_PX + 0.2 * UNIT_PX])
        scale = _HEAD_SCALE * moment.zoom
        place = cv2.getRotationMatrix2D(middle.tolist(), -moment.roll_deg, scale)
        place[:, 2] += np.array([_HEAD_X_PX, _HEAD_Y_PX]) + moment.shift_px - middle
        placed = cv2.warpAffine(layers, place, (FRAME_WIDTH_PX, FRAME_HEIGHT_PX))
        alpha = cv2.extractChannel(placed, 3).astype(np.float32) * np.float32(1 / 255)
        head = cv2.cvtColor(placed, cv2.COLOR_RGBA2RGB)
        frame = cv2.blendLinear(head, self.head.backdrop, alpha, 1 - alpha)
        noise = np.roll(self._noise, 37 * (index % 4), axis=(0, 1))
        return np.asarray(cv2.subtract(cv2.add(frame, noise), self._bias), np.uint8)


# === Brush ===


def _px(points: Points) -> NDArray[np.int32]:
    pixels = points * UNIT_PX + np.array([CENTRE_X_PX, EYE_LINE_PX])
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def _curve(xs: Points, ys: Points) -> Points:
    return np.stack([xs, ys], 1)


def _fill(picture: Picture, upper: Points, lower: Points, colour: NDArray | int) -> None:
    outline = np.concatenate([upper, lower[::-1]])
    cv2.fillPoly(picture, [_px(outline)], np.broadcast_to(colour, 3).tolist(), cv2.LINE_AA, _SHIFT)


def _line(picture: Picture, points: Points, colour: NDArray | int, width_px: int) -> None:
    shown = np.broadcast_to(colour, 3).tolist()
    cv2.polylines(picture, [_px(points)], False, shown, width_px, cv2.LINE_AA, _SHIFT)


# === Features ===


def _draw_eye(picture: Picture, speaker: Speaker, moment: FacePose, side: int) -> None:
    """Draws one eye; `side` is -1 left or 1 right in the picture."""
    style, size, x0 = moment.style, speaker.eye_size, side * EYE_X
    skin = np.asarray(speaker.skin)
    narrow = 1 - 0.38 * style.lid_tight - 0.15 * style.cheek_raise
    low = 0.062 * size * np.clip(1 - 0.5 * style.lid_tight - 0.55 * style.cheek_raise, 0.15, 1.2)
    high = 0.098 * size * np.clip((1 + 0.65 * style.lid_raise) * narrow, 0.25, 1.8)
    high = high * (1 - moment.blink) - 0.9 * low * moment.blink
    xs, bow, slant = x0 + 0.195 * size * _ARC, (1 - _ARC**2) ** 0.75, -0.018 * side * _ARC
    upper, lower = _curve(xs, slant - high * bow), _curve(xs, slant + low * bow)
    crease = _curve(xs, slant - (max(high, 0.03) + 0.05) * bow)
    _line(picture, crease, skin * 0.5, 2)
    eye, mask = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
    _fill(eye, upper - 1, lower + 1, np.array([208, 203, 198]))
    ball = _px(np.array([x0 + moment.gaze, -0.012])).tolist()
    for radius, colour in ((0.094, (34, 26, 20)), (0.078, (74, 56, 40)), (0.04, (12, 10, 10))):
        radius_px = round(radius * size * UNIT_PX * (1 << _SHIFT))
        cv2.circle(eye, ball, radius_px, colour, -1, cv2.LINE_AA, _SHIFT)
    _fill(mask, upper, lower, 255)
    cv2.copyTo(eye, mask, picture)
    _line(picture, lower, skin * 0.5, 1)
    _line(picture, upper, np.array([30, 22, 20]), 2)


def _draw_brow(picture: Picture, speaker: Speaker, style: FaceStyle, side: int) -> None:
    t, knit = np.linspace(0, 1, 13), style.brow_lower
    inner = _BROW_Y + 0.035 - 0.15 * style.brow_inner + 0.115 * knit + 0.03 * style.nose_wrinkle
    middle = _BROW_Y - 0.045 + 0.09 * knit - 0.06 * style.brow_inner - 0.10 * style.brow_outer
    outer = _BROW_Y + 0.045 - 0.13 * style.brow_outer + 0.03 * knit + 0.02 * style.brow_inner
    ys = inner * (1 - t) * (1 - 2 * t) + middle * 4 * t * (1 - t) + outer * t * (2 * t - 1)
    start = 0.155 - 0.05 * knit
    xs = side * (start + (0.70 - start) * t)
    thick = 0.045 * speaker.brow_thickness * (1.05 - 0.75 * t**1.5) * np.minimum(1, 0.55 + 3 * t)
    colour = np.asarray(speaker.hair) * 0.5 + 20
    _fill(picture, _curve(xs, ys - thick), _curve(xs, ys + thick), colour)


def _draw_mouth(picture: Picture, speaker: Speaker, moment: FacePose) -> None:
    """Draws lips, teeth and inside; the dropped jaw and speech open it, pressing closes."""
    style, side, bow = moment.style, np.abs(_ARC), 1 - _ARC**2
    speech = 0.42 * moment.opening * (1 - 0.35 * style.press)
    opening = float(np.clip(0.55 * style.jaw + speech + 0.1 * style.smile - 0.02, 0, 0.9))
    wide = 1 + 0.24 * style.smile + 0.2 * style.stretch - 0.05 * style.press
    wide *= 1 - 0.16 * moment.rounding - 0.10 * max(opening - 0.25, 0) - 0.05 * style.frown
    xs = 0.36 * speaker.mouth_width * wide * _ARC
    thin = np.clip(1 - 0.6 * style.press - 0.22 * style.smile, 0.25, 1.3) * speaker.lip_fullness
    lift = 0.085 * style.upper_lip + 0.02 * style.nose_wrinkle
    middle = MOUTH_Y + (0.105 * style.frown - 0.135 * style.smile) * side**1.5
    middle += 0.03 * style.smile * bow - 0.035 * style.chin_raise * (1 - side)
    inner_up = middle - 0.12 * opening * bow - lift * bow * (0.6 + 0.4 * side)
    inner_low = np.maximum(middle + 0.28 * opening * bow - 0.35 * lift * bow, inner_up + 0.003)
    outer_up = inner_up - 0.082 * thin * (1 - side**2.4)
    plump = 1 + 0.35 * style.chin_raise * (1 - style.press)
    outer_low = inner_low + 0.105 * thin * bow**0.8 * plump
    teeth = inner_up + np.minimum(0.075, 0.9 * (inner_low - inner_up))
    skin = np.asarray(speaker.skin)
    lip = skin * np.array([0.80, 0.62, 0.62])
    _line(picture, _curve(xs, outer_low + 0.045)[4:-4], skin * 0.75, 3)
    _fill(picture, _curve(xs, outer_up), _curve(xs, inner_up), lip * 0.74)
    _fill(picture, _curve(xs, inner_low), _curve(xs, outer_low), lip * 0.95)
    _fill(picture, _curve(xs, inner_up), _curve(xs, inner_low), np.array([46, 18, 18]))
    if opening > 0.08:
        _fill(picture, _curve(xs, inner_up), _curve(xs, teeth), np.array([196, 188, 176]))
    _line(picture, _curve(xs, inner_up), lip * 0.4, 2)
