"""The invented people of the sample corpus: how each looks and sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


def _colours(text: str) -> tuple[Colour, ...]:
    """RGB of colours as in CSS, such as "e2b296 c99676"."""
    return tuple((float(r), float(g), float(b)) for r, g, b in map(bytes.fromhex, text.split()))


SKINS = _colours("e2b296 c99676 ecc2aa a6765a d6a680 8e644e")
HAIRS = _colours("34261e 624228 1a181a 967042 78787a 70361e")
IRISES = _colours("4a3222 566c80 5c623e 38261c")
BACKDROPS = _colours("a8aeb6 8a9692 bab4a8 707c8e a096a0")
CLOTHES = _colours("282c38 60282c 2c4a3e 403c5c 787064 1e1e20")


@dataclass(frozen=True)
class Speaker:
    """One invented person; colours are RGB 0 to 255, ratios are against an average face.

    Attributes:
      is_male: odd actors, as in RAVDESS: lower voice, longer vocal tract, stronger jaw.
      hair_length: 0 cropped to 1 past the jaw.
      stubble: 0 none to 1 short beard.
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
    iris: Colour
    backdrop: Colour
    clothes: Colour
    hair_length: float
    hairline: float
    jaw_width: float
    face_length: float
    eye_size: float
    eye_spacing: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    lip_redness: float
    stubble: float
    has_glasses: bool
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
    shift = np.random.default_rng([seed, 21]).integers(0, 60, 5)
    rng = np.random.default_rng([seed, 22, actor])
    is_male = actor % 2 == 1

    def around(middle: float, spread: float) -> float:
        return float(middle + spread * rng.uniform(-1, 1))

    return Speaker(
        actor=actor,
        is_male=is_male,
        skin=SKINS[(actor + shift[0]) % len(SKINS)],
        hair=HAIRS[(actor * 5 + actor // 6 + shift[1]) % len(HAIRS)],
        iris=IRISES[(actor + shift[2]) % len(IRISES)],
        backdrop=BACKDROPS[(actor + shift[3]) % len(BACKDROPS)],
        clothes=CLOTHES[(actor * 5 + shift[4]) % len(CLOTHES)],
        hair_length=around(0.12, 0.1) if is_male else around(0.8, 0.2),
        hairline=around(0.0, 0.05),
        jaw_width=around(1.04 if is_male else 0.95, 0.04),
        face_length=around(1.0, 0.04),
        eye_size=around(0.98 if is_male else 1.06, 0.05),
        eye_spacing=around(1.0, 0.035),
        brow_thickness=around(1.2 if is_male else 0.85, 0.15),
        brow_arch=around(0.8 if is_male else 1.1, 0.2),
        nose_width=around(1.05 if is_male else 0.94, 0.08),
        mouth_width=around(1.0, 0.06),
        lip_fullness=around(0.9 if is_male else 1.1, 0.12),
        lip_redness=around(0.4 if is_male else 0.75, 0.2),
        stubble=float(rng.uniform(0.15, 0.8)) if is_male and rng.random() < 0.5 else 0.0,
        has_glasses=bool(actor % 8 == 6),
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
