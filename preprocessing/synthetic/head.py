"""Draws the static parts of a face: shaded skin, hair, ears, neck and backdrop.

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

EYE_X, EYE_HALF_WIDTH = 0.415, 0.195
BROW_Y, NOSE_TIP_Y, NOSE_BASE_Y, MOUTH_Y, CHIN_Y = -0.29, 0.47, 0.6, 0.9, 1.38
MOUTH_HALF_WIDTH = 0.36

# Half-width of the face by height, both in face units.
_OUTLINE_Y = (-1.36, -1.28, -1.1, -0.8, -0.45, 0.0, 0.4, 0.75, 1.0, 1.2, 1.33, 1.38)
_OUTLINE_X = (0.0, 0.34, 0.68, 0.92, 1.0, 0.98, 0.94, 0.84, 0.69, 0.48, 0.24, 0.0)
_JAW = (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Head:
    """Layers of one speaker, on the canvas unless said otherwise.

    Attributes:
      skin: (3, H, W) float32, RGB 0 to 255, lit, with eye sockets but no eyes, brows or lips.
      alpha: (H, W) uint8, 255 where head and hair cover what is behind.
      creases: action-unit name -> (H, W) float32, factor of brightness minus 1 at full strength.
      backdrop: (360, 480, 3) uint8 RGB, the frame behind the head, with neck and shoulders.
    """

    skin: FloatArray
    alpha: NDArray[np.uint8]
    creases: dict[str, FloatArray]
    backdrop: NDArray[np.uint8]


def grid() -> tuple[FloatArray, FloatArray]:
    """x and y of every canvas pixel in face units, (H, W) float32 each."""
    y, x = np.mgrid[0:CANVAS_HEIGHT_PX, 0:CANVAS_WIDTH_PX].astype(np.float32)
    return (x - CENTRE_X_PX) / UNIT_PX, (y - EYE_LINE_PX) / UNIT_PX


def bump(
    x: FloatArray, y: FloatArray, x0: float, y0: float, width: float, height: float
) -> FloatArray:
    """A smooth hill of height 1 at (x0, y0) with the given half-widths, in face units."""
    return np.exp(-(((x - x0) / width) ** 2) - ((y - y0) / height) ** 2).astype(np.float32)


def _twice(
    x: FloatArray, y: FloatArray, x0: float, y0: float, width: float, height: float
) -> FloatArray:
    """The same hill on both sides of the face."""
    return bump(x, y, x0, y0, width, height) + bump(x, y, -x0, y0, width, height)


def smooth_step(value: NDArray[np.floating], width: float) -> FloatArray:
    """0 below, 1 above zero, with a soft edge of `width`."""
    return np.clip(value / width + 0.5, 0, 1).astype(np.float32)


def _blur(picture: FloatArray, size_x: float, size_y: float) -> FloatArray:
    """Gaussian blur of the given deviations in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigmaX=size_x, sigmaY=size_y), np.float32)


def soft_noise(
    rng: np.random.Generator, shape: tuple[int, int], size_x: float, size_y: float
) -> FloatArray:
    """Gaussian noise of deviation 1 whose grains are about `size` pixels."""
    noise = rng.standard_normal(shape).astype(np.float32)
    soft = _blur(noise, size_x, size_y)
    return np.asarray(soft / (soft.std() + 1e-6), np.float32)


# === Shape ===


def _half_width(y: FloatArray, speaker: Speaker) -> FloatArray:
    """Half-width of the face at height y."""
    widths = np.asarray(_OUTLINE_X) * (1 + (speaker.jaw_width - 1) * np.asarray(_JAW))
    curve = PchipInterpolator(_OUTLINE_Y, widths, extrapolate=False)
    return np.nan_to_num(curve(y)).astype(np.float32)


def _height(x: FloatArray, y: FloatArray, speaker: Speaker) -> FloatArray:
    """Height of the skin towards the viewer, face units."""
    width = np.maximum(_half_width(y, speaker), 0.02)
    z = 0.95 * np.sqrt(np.clip(1 - (x / width) ** 2, 0, 1))
    z *= np.clip(1 - np.clip((y - 0.75) / 0.75, 0, 1) ** 2 * 0.45, 0, 1)
    z *= np.clip(1 - np.clip((-y - 0.5) / 0.95, 0, 1) ** 2 * 0.6, 0, 1)
    eye_x, nose = EYE_X * speaker.eye_spacing, speaker.nose_width
    z -= 0.20 * _twice(x, y, eye_x, -0.02, 0.27, 0.17)
    z -= 0.07 * _twice(x, y, 0.2, -0.02, 0.1, 0.14)
    z += 0.09 * _twice(x, y, eye_x + 0.02, -0.27, 0.3, 0.1)
    z += 0.05 * bump(x, y, 0, -0.27, 0.2, 0.12)
    ridge = np.clip((y + 0.2) / (NOSE_TIP_Y + 0.2), 0, 1)
    below = np.clip((NOSE_BASE_Y + 0.02 - y) / 0.14, 0, 1)
    bridge = np.exp(-((x / (0.1 + 0.07 * ridge * nose)) ** 2))
    z += (0.07 + 0.28 * ridge**1.3) * bridge * below * (y > -0.35)
    z += 0.13 * _twice(x, y, 0.145 * nose, NOSE_TIP_Y + 0.05, 0.075, 0.075)
    z += 0.10 * _twice(x, y, 0.55, 0.36, 0.27, 0.22)
    z += 0.07 * bump(x, y, 0, MOUTH_Y, 0.4, 0.2) + 0.08 * bump(x, y, 0, 1.22, 0.22, 0.13)
    z -= 0.03 * bump(x, y, 0, 0.74, 0.05, 0.08) + 0.06 * bump(x, y, 0, 1.07, 0.24, 0.06)
    return z.astype(np.float32)


def _light(z: FloatArray, speaker: Speaker) -> FloatArray:
    """Brightness of matt skin under a soft key light from above, 1 on average."""
    z = _blur(z, 1.6, 1.6)
    slope_y, slope_x = np.gradient(z * UNIT_PX)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    key = np.array([0.55 * speaker.light, -0.5, 0.85])
    key /= np.linalg.norm(key)
    lambert = np.clip((-slope_x * key[0] - slope_y * key[1] + key[2]) / length, 0, None)
    facing = 1 / length
    hollow = np.clip(_blur(z, 11, 11) - z, -0.06, 0.12)
    shade = 0.34 + 0.62 * lambert + 0.16 * facing - 1.5 * hollow
    return np.asarray(shade, np.float32)


# === Skin and hair ===


def _skin(
    x: FloatArray, y: FloatArray, z: FloatArray, speaker: Speaker, rng: np.random.Generator
) -> FloatArray:
    """Lit skin without eyes, brows and lips, (H, W, 3) float32."""
    shape = (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    skin = np.broadcast_to(np.asarray(speaker.skin, np.float32), (*shape, 3)).copy()
    red = _twice(x, y, 0.56, 0.42, 0.26, 0.2) + 0.8 * bump(x, y, 0, NOSE_TIP_Y, 0.13, 0.1)
    skin *= 1 + red[..., None] * np.array([0.02, -0.07, -0.06], np.float32)
    dark_eye = _twice(x, y, EYE_X * speaker.eye_spacing, 0.0, 0.27, 0.15)
    skin *= 1 - dark_eye[..., None] * np.array([0.20, 0.24, 0.22], np.float32)
    skin *= 1 - 0.22 * _twice(x, y, 0.085 * speaker.nose_width, 0.585, 0.06, 0.035)[..., None]
    beard = smooth_step(y - 0.62 - 0.25 * (1 - np.minimum(np.abs(x) / 0.8, 1)) ** 2, 0.2)
    beard = np.maximum(beard, smooth_step(np.abs(x) - 0.82, 0.1) * smooth_step(y, 0.3))
    beard *= 1 - 0.7 * bump(x, y, 0, MOUTH_Y, 0.36, 0.13)
    grain = 1 + 0.3 * soft_noise(rng, shape, 0.8, 1.2)
    cover = np.clip(speaker.stubble * 0.6 * beard * grain, 0, 0.85)[..., None]
    skin = skin * (1 - cover) + np.asarray(speaker.hair, np.float32) * cover
    shade = _light(z, speaker)
    pores = 0.012 * soft_noise(rng, shape, 0.8, 0.8) + 0.014 * soft_noise(rng, shape, 7, 7)
    lit = skin * (shade + pores)[..., None]
    shine = bump(x, y, 0.03 * speaker.light, 0.38, 0.05, 0.12) + 0.5 * bump(x, y, 0, -0.6, 0.4, 0.2)
    shine += 0.6 * bump(x, y, 0.5 * np.sign(speaker.light), 0.26, 0.17, 0.1)
    return np.asarray(lit + 16 * shine[..., None], np.float32)


def _hair(
    x: FloatArray, y: FloatArray, speaker: Speaker, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Colour (H, W, 3), cover of the skin (H, W) and silhouette with hair (H, W)."""
    shape = (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    wide = np.abs(x)
    line = -0.87 + speaker.hairline + 0.42 * np.clip(wide - 0.45, 0, 1) ** 1.3 * 2.2
    over = smooth_step(line + 0.02 * soft_noise(rng, shape, 1.5, 4) - y, 0.07)
    volume = 0.07 + 0.07 * speaker.hair_length
    dome = 1 - (x / (1.02 + volume)) ** 2 - ((y + 0.3) / (1.08 + volume)) ** 2
    outline = smooth_step(dome, 0.05) * (y < 0.1)
    end = -0.05 + 1.35 * speaker.hair_length
    inner = 0.93 - 0.06 * np.clip(y, 0, 2) * speaker.hair_length
    side = smooth_step(wide - inner, 0.06) * smooth_step(1.04 + volume - wide, 0.05)
    side *= smooth_step(y + 0.7, 0.2) * smooth_step(end - y, 0.2)
    if speaker.hair_length < 0.4:
        side *= smooth_step(wide - 0.95, 0.05)
    over = np.maximum(over * outline, side)
    strands = soft_noise(rng, shape, 1.1, 9) * 0.13
    sheen = 1 + 0.35 * np.exp(-(((y + 1.05 + 0.25 * wide) / 0.16) ** 2)) - 0.3 * wide**2
    colour = np.asarray(speaker.hair, np.float32) * (sheen + strands)[..., None]
    return np.clip(colour, 0, 255).astype(np.float32), over, np.maximum(outline, side)


def _creases(x: FloatArray, y: FloatArray, speaker: Speaker) -> dict[str, FloatArray]:
    """Shading that each action unit adds, as a factor of brightness minus 1."""
    fold_x = 0.29 + 0.5 * np.clip(y - 0.5, 0, 1)
    fold = np.exp(-(((np.abs(x) - fold_x) / 0.045) ** 2)) * bump(0 * x, y, 0, 0.68, 1, 0.15)
    cheek = _twice(x, y, 0.52, 0.38, 0.2, 0.12) - 0.8 * _twice(x, y, 0.46, 0.16, 0.22, 0.045)
    knit = np.exp(-(((np.abs(x) - 0.075) / 0.025) ** 2)) * bump(0 * x, y, 0, -0.27, 1, 0.13)
    rows = np.exp(-(((y + 0.6 + 0.05 * np.cos(2.5 * x)) / 0.02) ** 2))
    rows = rows + np.exp(-(((y + 0.48 + 0.05 * np.cos(2.5 * x)) / 0.018) ** 2))
    bunny = np.exp(-(((np.abs(np.sin(y * 26))) / 0.5) ** 2)) * bump(x, y, 0, 0.0, 0.13, 0.11)
    flank = _twice(x, y, 0.2, 0.36, 0.07, 0.12)
    chin = bump(x, y, 0, 1.09, 0.2, 0.045) - 0.5 * bump(x, y, 0, 1.22, 0.14, 0.07)
    layers = {
        "smile": -0.3 * fold + 0.14 * cheek,
        "cheek_raise": 0.16 * cheek,
        "brow_lower": -0.34 * knit - 0.14 * bump(x, y, 0, -0.3, 0.16, 0.12),
        "brow_inner": -0.16 * rows * bump(x, y, 0, -0.54, 0.42, 0.2),
        "nose_wrinkle": -0.28 * bunny - 0.2 * flank - 0.22 * fold,
        "frown": -0.22 * _twice(x, y, 0.4, 1.05, 0.05, 0.09),
        "chin_raise": -0.3 * chin,
    }
    return {name: layer.astype(np.float32) for name, layer in layers.items()}


# === Behind the head ===


def _backdrop(speaker: Speaker, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Wall, shoulders and neck, (360, 480, 3) uint8."""
    y, x = np.mgrid[0:FRAME_HEIGHT_PX, 0:FRAME_WIDTH_PX].astype(np.float32)
    shape = (FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
    wall = 1.08 - 0.3 * np.hypot((x - 240 - 90 * speaker.light) / 400, (y - 120) / 400)
    wall += 0.015 * soft_noise(rng, shape, 25, 25)
    picture = np.asarray(speaker.backdrop, np.float32) * wall[..., None]
    offset = np.abs(x - 240)
    shoulder = smooth_step(y - 300 - 60 * (offset / 190) ** 2.2 + 14 * np.exp(-offset / 40), 3)
    cloth = 0.9 - 0.5 * (offset / 240) ** 2 + 0.05 * soft_noise(rng, shape, 5, 14)
    picture += shoulder[..., None] * (
        np.asarray(speaker.clothes, np.float32) * cloth[..., None] - picture
    )
    wide = (47 if speaker.is_male else 38) + 0.004 * (y - 255) ** 2 * (y > 255)
    neck = smooth_step(wide - offset, 3) * smooth_step(y - 200, 10)
    neck *= smooth_step(326 - 0.012 * offset**2 - y, 3)
    tone = 0.72 - 0.3 * (offset / 60) ** 2 + 0.1 * speaker.light * (x - 240) / 40
    tone -= 0.34 * np.exp(-(((y - 262) / 26) ** 2))
    picture += neck[..., None] * (np.asarray(speaker.skin, np.float32) * tone[..., None] - picture)
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_head(seed: int, speaker: Speaker) -> Head:
    """Draws what stands still of `speaker`; the same for the same seed."""
    rng = np.random.default_rng([seed, 31, speaker.actor])
    x, y = grid()
    z = _height(x, y, speaker)
    skin = _skin(x, y, z, speaker, rng)
    face = smooth_step(_half_width(y, speaker) - np.abs(x) - 0.02, 0.03)
    ear = _twice(x, y, 0.99, 0.1, 0.085, 0.25)
    ear_shape = smooth_step(ear - 0.35, 0.2)
    ear_skin = (
        np.asarray(speaker.skin, np.float32)
        * (0.62 + 0.2 * _twice(x, y, 1.04, 0.08, 0.05, 0.2))[..., None]
    )
    skin = ear_skin + (skin - ear_skin) * face[..., None]
    colour, over, hair_shape = _hair(x, y, speaker, rng)
    under_hair = 1 - 0.25 * _blur(over, 5, 5) * (1 - over)
    skin = skin * under_hair[..., None]
    skin += over[..., None] * (colour - skin)
    outside = (np.maximum(face, ear_shape) < 0.5)[..., None]
    skin = np.where(outside & (hair_shape[..., None] > 0.02), colour, skin)
    alpha = np.maximum(np.maximum(face, ear_shape), hair_shape * (over > 0.02))
    return Head(
        skin=np.ascontiguousarray(np.clip(skin, 0, 255).transpose(2, 0, 1), np.float32),
        alpha=np.rint(_blur(alpha, 0.7, 0.7) * 255).astype(np.uint8),
        creases=_creases(x, y, speaker),
        backdrop=_backdrop(speaker, rng),
    )
