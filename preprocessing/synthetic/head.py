"""Draws the static parts of a face: shaded skin, hair, neck and backdrop.

The head is a height field z(x, y) lit from one side, so that eye sockets, nose, cheeks and lips
shade as on a real face; detectors respond to exactly that. Face units: x in [-1, 1] across the
cheekbones, y down from the line of the eyes, chin at 1.38.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from affectstream.preprocessing.synthetic.speakers import Speaker

FloatArray = NDArray[np.float32]

CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX = 264, 344
CENTRE_X_PX, EYE_LINE_PX, UNIT_PX = 132.0, 168.0, 92.0
FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 480, 360

EYE_X, NOSE_TIP_Y, NOSE_BASE_Y, MOUTH_Y = 0.415, 0.47, 0.6, 0.9

# Half-width of the face by height, both in face units, and how far the jaw widens it.
_OUTLINE_Y = (-1.36, -1.28, -1.1, -0.8, -0.45, 0.0, 0.4, 0.75, 1.0, 1.2, 1.33, 1.38)
_OUTLINE_X = (0.0, 0.34, 0.68, 0.92, 1.0, 0.98, 0.94, 0.84, 0.69, 0.48, 0.24, 0.0)
_JAW = (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Head:
    """Layers of one speaker, on the canvas unless said otherwise.

    Attributes:
      skin: (H, W, 3) float32, RGB 0 to 255, lit, with eye sockets but no eyes, brows or lips.
      alpha: (H, W) uint8, 255 where head and hair cover what is behind.
      creases: action-unit name -> (H, W, 1) float32, factor of brightness minus 1 at full strength.
      backdrop: (360, 480, 3) uint8 RGB, the frame behind the head, with neck and shoulders.
    """

    skin: FloatArray
    alpha: NDArray[np.uint8]
    creases: dict[str, FloatArray]
    backdrop: NDArray[np.uint8]


def make_head(seed: int, speaker: Speaker) -> Head:
    """Draws the static parts of `speaker`; deterministic for a seed."""
    rng = np.random.default_rng([seed, 31, speaker.actor])
    y, x = np.mgrid[0:CANVAS_HEIGHT_PX, 0:CANVAS_WIDTH_PX].astype(np.float32)
    x, y = (x - CENTRE_X_PX) / UNIT_PX, (y - EYE_LINE_PX) / UNIT_PX
    width = _half_width(y, speaker)
    face = _step(width - np.abs(x) - 0.02, 0.03)
    volume = 1.07 if speaker.is_male else 1.14
    dome = _step(1 - (x / volume) ** 2 - ((y + 0.3) / (volume + 0.06)) ** 2, 0.05)
    end = 0.1 if speaker.is_male else 1.0
    beside = _step(np.abs(x) - 0.9, 0.06) * _step(volume - np.abs(x), 0.05)
    beside *= _step(y + 0.7, 0.2) * _step(end - y, 0.2)
    line = -0.87 + 0.92 * np.clip(np.abs(x) - 0.45, 0, 1) ** 1.3
    hair = np.maximum(dome * _step(line - y, 0.07), beside)
    grain = 1 + 0.13 * _noise(rng, x.shape, 1.1, 9)
    skin = _skin(x, y, width, speaker, rng)
    skin += hair[..., None] * (np.multiply.outer(grain, speaker.hair) - skin)
    return Head(
        skin=np.clip(skin, 0, 255).astype(np.float32),
        alpha=np.rint(_blur(np.maximum(face, hair), 0.7) * 255).astype(np.uint8),
        creases=_creases(x, y),
        backdrop=_backdrop(speaker, rng),
    )


# === Shapes ===


def _bump(
    x: FloatArray, y: FloatArray, x0: float, y0: float, width: float, height: float
) -> FloatArray:
    """A smooth hill of height 1 at (x0, y0), and at (-x0, y0), with the given half-widths."""
    hills = [np.exp(-(((x - at) / width) ** 2) - ((y - y0) / height) ** 2) for at in {x0, -x0}]
    return np.asarray(sum(hills), np.float32)


def _step(value: NDArray[np.floating], width: float) -> FloatArray:
    """0 below, 1 above zero, with a soft edge of `width`."""
    return np.clip(value / width + 0.5, 0, 1).astype(np.float32)


def _blur(picture: FloatArray, size_x: float, size_y: float = 0.0) -> FloatArray:
    """Gaussian blur of the given deviations in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigmaX=size_x, sigmaY=size_y), np.float32)


def _noise(
    rng: np.random.Generator, shape: tuple[int, ...], size_x: float, size_y: float
) -> FloatArray:
    """Noise of deviation 1 whose grains are about `size` pixels."""
    soft = _blur(rng.standard_normal(shape).astype(np.float32), size_x, size_y)
    return np.asarray(soft / soft.std(), np.float32)


def _half_width(y: FloatArray, speaker: Speaker) -> FloatArray:
    """Half-width of the face at height y."""
    widths = np.asarray(_OUTLINE_X) * (1 + (speaker.jaw_width - 1) * np.asarray(_JAW))
    curve = PchipInterpolator(_OUTLINE_Y, widths, extrapolate=False)
    return np.nan_to_num(curve(y)).astype(np.float32)


# === Skin ===


def _height(x: FloatArray, y: FloatArray, width: FloatArray, nose: float) -> FloatArray:
    """Height of the skin towards the viewer, face units."""
    z = 0.95 * np.sqrt(np.clip(1 - (x / np.maximum(width, 0.02)) ** 2, 0, 1))
    z *= 1 - np.clip((y - 0.75) / 0.75, 0, 1) ** 2 * 0.45
    z *= 1 - np.clip((-y - 0.5) / 0.95, 0, 1) ** 2 * 0.6
    z -= 0.20 * _bump(x, y, EYE_X, -0.02, 0.27, 0.17) + 0.07 * _bump(x, y, 0.2, -0.02, 0.1, 0.14)
    z += 0.09 * _bump(x, y, EYE_X, -0.27, 0.3, 0.1) + 0.05 * _bump(x, y, 0, -0.27, 0.2, 0.12)
    ridge = np.clip((y + 0.2) / (NOSE_TIP_Y + 0.2), 0, 1)
    bridge = np.exp(-((x / (0.1 + 0.07 * ridge * nose)) ** 2)) * (y > -0.35)
    z += (0.07 + 0.28 * ridge**1.3) * bridge * np.clip((NOSE_BASE_Y + 0.02 - y) / 0.14, 0, 1)
    z += 0.13 * _bump(x, y, 0.145 * nose, NOSE_TIP_Y + 0.05, 0.075, 0.075)
    z += 0.10 * _bump(x, y, 0.55, 0.36, 0.27, 0.22) + 0.07 * _bump(x, y, 0, MOUTH_Y, 0.4, 0.2)
    z += 0.08 * _bump(x, y, 0, 1.22, 0.22, 0.13) - 0.06 * _bump(x, y, 0, 1.07, 0.24, 0.06)
    return np.asarray(z, np.float32)


def _skin(
    x: FloatArray, y: FloatArray, width: FloatArray, speaker: Speaker, rng: np.random.Generator
) -> FloatArray:
    """Matt skin under a soft key light from above, without eyes, brows and lips."""
    z = _blur(_height(x, y, width, speaker.nose_width), 1.6)
    slope_y, slope_x = np.gradient(z * UNIT_PX)
    facing = 1 / np.sqrt(slope_x**2 + slope_y**2 + 1)
    key = np.array([0.55 * speaker.light, -0.5, 0.85])
    key /= np.linalg.norm(key)
    lambert = np.clip((-slope_x * key[0] - slope_y * key[1] + key[2]) * facing, 0, None)
    hollow = np.clip(_blur(z, 11) - z, -0.06, 0.12)
    shade = 0.34 + 0.62 * lambert + 0.16 * facing - 1.5 * hollow
    shade += 0.014 * _noise(rng, x.shape, 7, 7)
    dark = 0.22 * _bump(x, y, EYE_X, 0.0, 0.27, 0.15)
    dark += 0.22 * _bump(x, y, 0.085 * speaker.nose_width, 0.585, 0.06, 0.035)
    return np.asarray(np.multiply.outer(shade * (1 - dark), speaker.skin), np.float32)


def _creases(x: FloatArray, y: FloatArray) -> dict[str, FloatArray]:
    """Shading that each action unit adds, as a factor of brightness minus 1."""
    fold_x = 0.29 + 0.5 * np.clip(y - 0.5, 0, 1)
    fold = np.exp(-(((np.abs(x) - fold_x) / 0.045) ** 2)) * _bump(0 * x, y, 0, 0.68, 1, 0.15)
    cheek = _bump(x, y, 0.52, 0.38, 0.2, 0.12) - 0.8 * _bump(x, y, 0.46, 0.16, 0.22, 0.045)
    flank = _bump(x, y, 0.2, 0.36, 0.07, 0.12)
    layers = {
        "smile": -0.3 * fold + 0.14 * cheek,
        "cheek_raise": 0.16 * cheek,
        "brow_lower": -0.34 * _bump(x, y, 0.075, -0.27, 0.025, 0.13),
        "brow_inner": -0.16 * _bump(x, y, 0, -0.56, 0.42, 0.03),
        "nose_wrinkle": -0.28 * _bump(x, y, 0, 0.0, 0.13, 0.05) - 0.2 * flank - 0.22 * fold,
        "frown": -0.22 * _bump(x, y, 0.4, 1.05, 0.05, 0.09),
        "chin_raise": -0.3 * _bump(x, y, 0, 1.09, 0.2, 0.045),
    }
    return {name: layer.astype(np.float32)[..., None] for name, layer in layers.items()}


# === Behind the head ===


def _backdrop(speaker: Speaker, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Wall, shoulders and neck, (360, 480, 3) uint8."""
    y, x = np.mgrid[0:FRAME_HEIGHT_PX, 0:FRAME_WIDTH_PX].astype(np.float32)
    x -= FRAME_WIDTH_PX / 2
    wall = 1.08 - 0.3 * np.hypot((x - 90 * speaker.light) / 400, (y - 120) / 400)
    picture = np.multiply.outer(wall + 0.015 * _noise(rng, x.shape, 25, 25), speaker.backdrop)
    shoulder = _step(y - 300 - 60 * (np.abs(x) / 190) ** 2.2, 3)[..., None]
    picture += shoulder * (np.array((52, 50, 62)) - picture)
    neck = _step((47 if speaker.is_male else 38) - np.abs(x), 3) * _step(y - 200, 10)
    neck *= _step(326 - 0.012 * x**2 - y, 3)
    tone = 0.72 - 0.3 * (x / 60) ** 2 - 0.34 * np.exp(-(((y - 262) / 26) ** 2))
    picture += neck[..., None] * (np.multiply.outer(tone, speaker.skin) - picture)
    return np.clip(picture, 0, 255).astype(np.uint8)
