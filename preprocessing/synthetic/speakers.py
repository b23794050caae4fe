"""The invented speakers of the sample corpus: appearance and voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    *((226, 178, 150), (201, 150, 118), (236, 194, 170)),
    *((166, 118, 90), (214, 166, 128), (142, 100, 78)),
)
HAIRS: tuple[Colour, ...] = (
    *((52, 38, 30), (98, 66, 40), (26, 24, 26)),
    *((150, 112, 66), (120, 120, 122), (112, 54, 30)),
)
BACKDROPS: tuple[Colour, ...] = (
    *((168, 174, 182), (138, 150, 146), (186, 180, 168)),
    *((112, 124, 142), (160, 150, 160)),
)


@dataclass(frozen=True)
class Speaker:
    """One invented person; colours are RGB 0 to 255, ratios are against an average face.

    Attributes:
      is_male: odd actors, as in RAVDESS: lower voice, longer vocal tract, stronger jaw.
      light: where the light comes from, -1 left to 1 right.
      habit_brow, habit_mouth: resting shape; above 0 raised brows, upturned corners.
      f0_hz: mean pitch when neutral.
      formant_scale: ratio of formants to an average man's.
      breath: aspiration, share of the voiced level.
      rate: ratio of speech rate to average.
      gain_db: recording level.
      tilt_db: level above about 1 kHz against the average voice.
    """

    actor: int
    is_male: bool
    skin: Colour
    hair: Colour
    backdrop: Colour
    jaw_width: float
    eye_size: float
    brow_thickness: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    light: float
    habit_brow: float
    habit_mouth: float
    f0_hz: float
    formant_scale: float
    breath: float
    rate: float
    gain_db: float
    tilt_db: float


def make_speaker(seed: int, actor: int) -> Speaker:
    """The person numbered `actor` (1, 2, ...); the same for the same seed."""
    shift = np.random.default_rng([seed, 21]).integers(0, 60, 3)
    rng = np.random.default_rng([seed, 22, actor])
    is_male = actor % 2 == 1

    def around(middle: float, spread: float) -> float:
        return float(middle + spread * rng.uniform(-1, 1))

    return Speaker(
        actor=actor,
        is_male=is_male,
        skin=SKINS[(actor + shift[0]) % len(SKINS)],
        hair=HAIRS[(actor * 5 + actor // 6 + shift[1]) % len(HAIRS)],
        backdrop=BACKDROPS[(actor + shift[2]) % len(BACKDROPS)],
        jaw_width=around(1.04 if is_male else 0.95, 0.04),
        eye_size=around(0.98 if is_male else 1.06, 0.05),
        brow_thickness=around(1.2 if is_male else 0.85, 0.15),
        nose_width=around(1.05 if is_male else 0.94, 0.08),
        mouth_width=around(1.0, 0.06),
        lip_fullness=around(0.9 if is_male else 1.1, 0.12),
        light=around(0.0, 0.55),
        habit_brow=around(0.0, 0.22),
        habit_mouth=around(0.0, 0.22),
        f0_hz=around(112, 16) if is_male else around(202, 24),
        formant_scale=around(1.0, 0.04) if is_male else around(1.16, 0.04),
        breath=around(0.05, 0.03) if is_male else around(0.08, 0.04),
        rate=around(1.0, 0.07),
        gain_db=around(0.0, 2.0),
        tilt_db=around(0.0, 1.5),
    )
