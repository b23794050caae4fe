"""How a face moves through a clip: onset and fading of the expression, blinks, sway, lips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from affectstream.preprocessing.synthetic.emotions import FaceStyle, mix
from affectstream.preprocessing.synthetic.face import FacePose
from affectstream.preprocessing.synthetic.speakers import Speaker

VIDEO_FPS = 25
_BLINK = (0.5, 1.0, 0.8, 0.3)


def _wander(rng: np.random.Generator, num_frames: int, slow: float, size: float) -> NDArray:
    """A smooth random path of deviation `size`, (frames,)."""
    noise = rng.standard_normal(num_frames + 8 * round(slow))
    path = gaussian_filter1d(noise, slow)[4 * round(slow) :][:num_frames]
    return np.asarray(path * size * np.sqrt(2 * np.sqrt(np.pi) * slow))


def _envelope(rng: np.random.Generator, num_frames: int) -> NDArray:
    """Strength of the expression: starts partly shown, rises within a second, fades a little."""
    times_s = np.arange(num_frames) / VIDEO_FPS
    onset, rise = rng.uniform(0.0, 0.35), rng.uniform(0.25, 0.6)
    up = np.clip((times_s - onset) / rise, 0, 1)
    fade = np.clip((times_s[-1] - times_s) / 0.5, 0, 1)
    shape = 0.45 + 0.55 * up * up * (3 - 2 * up)
    return np.asarray(shape * (0.75 + 0.25 * fade) * (1 + _wander(rng, num_frames, 6, 0.06)))


def _blinks(rng: np.random.Generator, num_frames: int) -> NDArray:
    """How far the lids are shut, (frames,) in [0, 1]."""
    blink = np.zeros(num_frames + len(_BLINK))
    at = int(rng.integers(5, 60))
    while at < num_frames:
        blink[at : at + len(_BLINK)] = _BLINK
        at += int(rng.integers(40, 110))
    return blink[:num_frames]


def moments(
    speaker: Speaker,
    style: FaceStyle,
    opening: NDArray[np.float64],
    rounding: NDArray[np.float64],
    num_frames: int,
    rng: np.random.Generator,
) -> list[FacePose]:
    """What the face does in each frame.

    Args:
      speaker: whose resting face is added to the expression.
      style: the expression at its height.
      opening, rounding: (frames,) of the lips by speech, 0 to 1.
      num_frames: frames of the clip at `VIDEO_FPS`.
      rng: source of all randomness.
    """
    rest = FaceStyle(
        brow_inner=max(speaker.habit_brow, 0),
        brow_lower=max(-speaker.habit_brow, 0),
        smile=max(speaker.habit_mouth, 0),
        frown=max(-speaker.habit_mouth, 0),
    )
    envelope, blink = _envelope(rng, num_frames), _blinks(rng, num_frames)
    base = rng.uniform(-1, 1, 4)
    x = 6 * base[0] + _wander(rng, num_frames, 12, 2.5)
    y = 4 * base[1] + _wander(rng, num_frames, 12, 2.0)
    roll = 2.5 * base[2] + _wander(rng, num_frames, 14, 1.2)
    zoom = 1 + 0.04 * base[3] + _wander(rng, num_frames, 20, 0.006)
    gaze = np.repeat(_wander(rng, num_frames // 9 + 1, 1, 0.010), 9)
    moments = []
    for i in range(num_frames):
        shown = mix([(float(envelope[i]), style), (1.0, rest)])
        moments.append(
            FacePose(
                style=replace(shown, jaw=max(shown.jaw, 0.0)),
                opening=float(opening[i]),
                rounding=float(rounding[i]),
                blink=float(blink[i]),
                gaze=float(gaze[i]),
                shift_px=(float(x[i]), float(y[i])),
                roll_deg=float(roll[i]),
                zoom=float(zoom[i]),
            )
        )
    return moments
