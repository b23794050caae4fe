"""Draws the moving parts of a face (brows, eyes, mouth) on the canvas of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from affectstream.preprocessing.synthetic.emotions import FaceStyle
from affectstream.preprocessing.synthetic.head import (
    BROW_Y,
    CENTRE_X_PX,
    EYE_HALF_WIDTH,
    EYE_LINE_PX,
    EYE_X,
    MOUTH_HALF_WIDTH,
    MOUTH_Y,
    UNIT_PX,
    FloatArray,
)
from affectstream.preprocessing.synthetic.speakers import Speaker

Points = NDArray[np.float64]
_SHIFT = 4
_DOWN = np.array([0.0, 0.02])
_ARC = np.linspace(-1.0, 1.0, 17)

# === Brush ===


class Patch:
    """A rectangle of the canvas that is painted in face units.

    Args:
      canvas: (3, H, W) float32 RGB, changed in place.
      box: x0, y0, x1, y1 in face units.
    """

    def __init__(self, canvas: FloatArray, box: tuple[float, float, float, float]):
        left, top = int(CENTRE_X_PX + box[0] * UNIT_PX), int(EYE_LINE_PX + box[1] * UNIT_PX)
        right, bottom = int(CENTRE_X_PX + box[2] * UNIT_PX), int(EYE_LINE_PX + box[3] * UNIT_PX)
        self.pixels = canvas[:, top:bottom, left:right]
        self.origin = np.array([CENTRE_X_PX - left, EYE_LINE_PX - top])

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        pixels = points * UNIT_PX + self.origin
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)

    def area(self, points: Points, softness_px: float = 0.0) -> FloatArray:
        """Cover in [0, 1] of a polygon, (h, w) float32."""
        mask = np.zeros(self.pixels.shape[1:], np.uint8)
        cv2.fillPoly(mask, [self._fixed(points)], 255, cv2.LINE_AA, _SHIFT)
        return self._soft(mask, softness_px)

    def disc(self, x: float, y: float, radius: float) -> FloatArray:
        """Cover in [0, 1] of a disc, (h, w) float32."""
        mask = np.zeros(self.pixels.shape[1:], np.uint8)
        centre = self._fixed(np.array([x, y]))
        size = round(radius * UNIT_PX * (1 << _SHIFT))
        cv2.circle(mask, (int(centre[0]), int(centre[1])), size, 255, -1, cv2.LINE_AA, _SHIFT)
        return self._soft(mask, 0.0)

    def line(self, points: Points, width_px: int, softness_px: float = 0.0) -> FloatArray:
        """Cover in [0, 1] of an open line, (h, w) float32."""
        mask = np.zeros(self.pixels.shape[1:], np.uint8)
        cv2.polylines(mask, [self._fixed(points)], False, 255, width_px, cv2.LINE_AA, _SHIFT)
        return self._soft(mask, softness_px)

    def paint(self, cover: FloatArray, colour: Sequence[float] | Points | FloatArray) -> None:
        """Lays `colour` (RGB, 0 to 255) over the patch where `cover` is 1."""
        change = np.asarray(colour, np.float32)[:, None, None] - self.pixels
        change *= cover
        self.pixels += change

    def shade(self, cover: FloatArray, factor: float) -> None:
        """Multiplies the brightness by `factor` where `cover` is 1."""
        change = cover * np.float32(factor - 1)
        change += 1
        self.pixels *= change

    @staticmethod
    def _soft(mask: NDArray[np.uint8], softness_px: float) -> FloatArray:
        cover = np.multiply(mask, np.float32(1 / 255), dtype=np.float32)
        if not softness_px:
            return cover
        size = 2 * int(np.ceil(2.2 * softness_px)) + 1
        return np.asarray(cv2.GaussianBlur(cover, (size, size), softness_px), np.float32)


def _join(upper: Points, lower: Points) -> Points:
    return np.concatenate([upper, lower[::-1]])


# === Eyes and brows ===


def draw_eye(
    canvas: FloatArray,
    speaker: Speaker,
    style: FaceStyle,
    side: int,
    blink: float,
    gaze: tuple[float, float],
) -> None:
    """Draws one eye; `side` is -1 left or 1 right in the picture, `gaze` in face units."""
    x0, size = side * EYE_X * speaker.eye_spacing, speaker.eye_size
    patch = Patch(canvas, (x0 - 0.3, -0.27, x0 + 0.3, 0.2))
    half = EYE_HALF_WIDTH * size
    bow = (1 - _ARC**2) ** 0.75
    xs = x0 + half * _ARC
    slant = -0.018 * side * _ARC
    narrow = 1 - 0.38 * style.lid_tight - 0.15 * style.cheek_raise
    low = 0.062 * size * np.clip(1 - 0.5 * style.lid_tight - 0.55 * style.cheek_raise, 0.15, 1.2)
    high = 0.098 * size * np.clip((1 + 0.65 * style.lid_raise) * narrow, 0.25, 1.8)
    high = high * (1 - blink) - 0.9 * low * blink
    upper = np.stack([xs, slant - high * bow], 1)
    lower = np.stack([xs, slant + low * bow], 1)
    crease = np.stack([xs, slant - (max(high, 0.03) + 0.05) * bow - 0.005], 1)
    lid = patch.area(_join(crease, upper), 0.8)
    patch.shade(lid, 1.05)
    patch.shade(patch.line(crease, 2, 1.0), 0.55)
    eye = patch.area(_join(upper, lower))
    if high + low > 0.02:
        patch.paint(eye, (208, 203, 198))
        ball_x, ball_y = x0 + gaze[0], gaze[1] - 0.012
        iris = eye * patch.disc(ball_x, ball_y, 0.094 * size)
        patch.paint(iris, np.asarray(speaker.iris) * 0.45)
        patch.paint(eye * patch.disc(ball_x, ball_y, 0.078 * size), speaker.iris)
        patch.paint(eye * patch.disc(ball_x, ball_y, 0.04 * size), (12, 10, 10))
        patch.shade(eye * patch.line(upper, 7, 2.0), 0.45)
        glint_x = ball_x + 0.03 * np.sign(speaker.light)
        patch.paint(0.85 * eye * patch.disc(glint_x, ball_y - 0.03, 0.019), (250, 250, 250))
    patch.shade(patch.line(lower, 1, 0.7), 0.62)
    lash = 0.92 if not speaker.is_male else 0.8
    patch.paint(lash * patch.line(upper, 2, 0.6), (30, 22, 20))


def draw_brow(
    canvas: FloatArray, speaker: Speaker, style: FaceStyle, side: int, strands: FloatArray
) -> None:
    """Draws one brow; `strands` (H, W) float32 is noise of deviation 1 on the canvas."""
    t = np.linspace(0, 1, 13)
    knit = style.brow_lower
    inner = BROW_Y + 0.035 - 0.15 * style.brow_inner + 0.115 * knit + 0.03 * style.nose_wrinkle
    middle = BROW_Y - 0.045 * speaker.brow_arch + 0.09 * knit
    middle -= 0.06 * style.brow_inner + 0.10 * style.brow_outer
    outer = BROW_Y + 0.045 - 0.13 * style.brow_outer + 0.03 * knit + 0.02 * style.brow_inner
    ys = inner * (1 - t) * (1 - 2 * t) + middle * 4 * t * (1 - t) + outer * t * (2 * t - 1)
    start = 0.155 - 0.05 * knit
    xs = side * (start + (0.70 * speaker.eye_spacing - start) * t)
    thick = 0.045 * speaker.brow_thickness * (1.05 - 0.75 * t**1.5) * np.minimum(1, 0.55 + 3 * t)
    box = sorted((side * 0.04, side * 0.82))
    patch = Patch(canvas, (box[0], -0.62, box[1], 0.02))
    points = _join(np.stack([xs, ys - thick], 1), np.stack([xs, ys + thick], 1))
    top, left = int(EYE_LINE_PX - 0.62 * UNIT_PX), int(CENTRE_X_PX + box[0] * UNIT_PX)
    height, width = patch.pixels.shape[1:]
    grain = 0.85 + 0.13 * strands[top : top + height, left : left + width]
    cover = np.clip(patch.area(points, 0.9) * grain, 0, 0.95)
    patch.paint(cover.astype(np.float32), np.asarray(speaker.hair) * 0.5 + 6)


def draw_glasses(canvas: FloatArray, speaker: Speaker) -> None:
    """Thin metal frames."""
    patch = Patch(canvas, (-0.98, -0.4, 0.98, 0.5))
    turn = np.linspace(0, 2 * np.pi, 33)
    for side in (-1, 1):
        x0 = side * EYE_X * speaker.eye_spacing
        rim = np.stack([x0 + 0.33 * np.cos(turn), 0.03 + 0.25 * np.sin(turn)], 1)
        patch.paint(0.8 * patch.line(rim, 1, 0.5), (70, 62, 58))
        arm = np.array([[x0 + side * 0.33, 0.0], [side * 0.95, -0.04]])
        patch.paint(0.8 * patch.line(arm, 1, 0.5), (70, 62, 58))
    bridge = np.array([[-0.09, 0.0], [0.0, -0.03], [0.09, 0.0]])
    patch.paint(0.8 * patch.line(bridge, 1, 0.5), (70, 62, 58))


# === Mouth ===


def _lip_curves(
    speaker: Speaker, style: FaceStyle, opening: float, rounding: float
) -> tuple[Points, Points, Points, Points]:
    """Outer upper, inner upper, inner lower, outer lower edge of the lips, face units."""
    wide = 1 + 0.24 * style.smile + 0.2 * style.stretch - 0.05 * style.press
    wide *= 1 - 0.16 * rounding - 0.10 * max(opening - 0.25, 0) - 0.05 * style.frown
    half = MOUTH_HALF_WIDTH * speaker.mouth_width * wide
    corner = 0.105 * style.frown - 0.135 * style.smile
    thin = np.clip(1 - 0.6 * style.press - 0.22 * style.smile, 0.25, 1.3) * speaker.lip_fullness
    gap = 0.40 * opening
    lift = 0.085 * style.upper_lip + 0.02 * style.nose_wrinkle
    side = np.abs(_ARC)
    middle = MOUTH_Y + corner * side**1.5 - 0.035 * style.chin_raise * (1 - side)
    middle = middle + 0.03 * style.smile * (1 - side**2)
    bow = 1 - _ARC**2
    inner_up = middle - 0.3 * gap * bow - lift * bow * (0.6 + 0.4 * side)
    inner_low = middle + 0.7 * gap * bow - 0.35 * lift * bow
    inner_low = np.maximum(inner_low, inner_up + 0.003)
    cupid = 1 + 0.12 * np.exp(-(((side - 0.25) / 0.15) ** 2)) - 0.1 * np.exp(-((side / 0.1) ** 2))
    outer_up = inner_up - 0.082 * thin * (1 - side**2.4) * cupid
    plump = 1 + 0.35 * style.chin_raise * (1 - style.press)
    outer_low = inner_low + 0.105 * thin * bow**0.8 * plump
    xs = half * _ARC
    curves = [np.stack([xs, ys], 1) for ys in (outer_up, inner_up, inner_low, outer_low)]
    return curves[0], curves[1], curves[2], curves[3]


def draw_mouth(
    canvas: FloatArray, speaker: Speaker, style: FaceStyle, opening: float, rounding: float
) -> None:
    """Draws lips, teeth and inside; `opening` 0 closed to 1 wide, `rounding` 0 to 1."""
    patch = Patch(canvas, (-0.66, 0.58, 0.66, 1.42))
    outer_up, inner_up, inner_low, outer_low = _lip_curves(speaker, style, opening, rounding)
    skin = np.asarray(speaker.skin)
    lip = skin * np.array([0.80, 0.66, 0.66]) + speaker.lip_redness * np.array([8, -18, -12])
    below = outer_low[3:-3] + np.array([0, 0.055])
    patch.shade(patch.line(below, 8, 3.0), 0.72)
    patch.shade(patch.area(_join(outer_up - _DOWN, outer_low + _DOWN), 2.0), 0.92)
    patch.paint(0.9 * patch.area(_join(outer_up, inner_up), 0.8), lip * 0.74)
    patch.paint(0.9 * patch.area(_join(inner_low, outer_low), 0.8), lip * 0.98)
    shine = (inner_low[5:-5] + outer_low[5:-5]) / 2
    patch.paint(0.28 * patch.line(shine, 3, 1.5), skin * 1.12 + 12)
    inside = patch.area(_join(inner_up, inner_low), 0.5)
    patch.paint(inside, (46, 18, 18))
    tooth = np.minimum(0.075, 0.9 * (inner_low[:, 1] - inner_up[:, 1]))
    teeth = patch.area(_join(inner_up, np.stack([inner_up[:, 0], inner_up[:, 1] + tooth], 1)), 0.6)
    patch.paint(np.float32(0.85) * inside * teeth, (206, 198, 186))
    patch.shade(inside * patch.line(inner_up, 4, 1.5), 0.6)
    if opening > 0.3:
        tongue = patch.area(_join(inner_low - 4 * _DOWN, inner_low), 2.0)
        patch.paint(0.7 * inside * tongue, (138, 62, 62))
    patch.shade(patch.line((inner_up + inner_low) / 2 if opening < 0.08 else inner_up, 2, 0.7), 0.5)
    for end in (0, -1):
        corner = inner_up[end]
        out = np.stack([corner, corner + np.array([0.03 * np.sign(corner[0]), 0.01])])
        patch.shade(patch.line(out, 4, 2.0), 0.62)
