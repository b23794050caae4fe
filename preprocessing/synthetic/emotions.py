"""Effect of each emotion on face and voice, and its strength in a take.

Every row is a difference from neutral, so rows can be scaled and mixed. Units are in the names.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TypeVar

import numpy as np


@dataclass(frozen=True)
class FaceStyle:
    """Strength of facial action units, 0 none to 1 full.

    Source: the prototypes of EMFACS (Ekman & Friesen 1983), numbers of FACS in brackets.
    """

    brow_inner: float = 0.0  # raises the inner brow (AU1)
    brow_outer: float = 0.0  # raises the outer brow (AU2)
    brow_lower: float = 0.0  # lowers and knits the brows (AU4)
    lid_raise: float = 0.0  # shows more of the eye (AU5); negative droops
    cheek_raise: float = 0.0  # lower lid and cheek rise (AU6)
    lid_tight: float = 0.0  # narrows the eye (AU7)
    nose_wrinkle: float = 0.0  # (AU9)
    upper_lip: float = 0.0  # raises the upper lip (AU10)
    smile: float = 0.0  # corners up and out (AU12)
    frown: float = 0.0  # corners down (AU15)
    chin_raise: float = 0.0  # pushes the lower lip up (AU17)
    stretch: float = 0.0  # corners straight out (AU20); negative purses
    press: float = 0.0  # thin lips (AU23, AU24)
    jaw: float = 0.0  # drops the jaw (AU26)


@dataclass(frozen=True)
class VoiceStyle:
    """Differences of the voice from the speaker's neutral.

    Source: directions after Scherer 2003, table 2, and Juslin & Laukka 2003, table 7; sizes are
    ours.
    """

    f0_st: float = 0.0  # mean pitch, semitones
    f0_range: float = 0.0  # natural logarithm of the ratio of pitch movements
    slope_st: float = 0.0  # pitch at the end against the beginning, semitones
    rate: float = 0.0  # natural logarithm of the ratio of speech rates
    energy_db: float = 0.0  # level
    tilt_db: float = 0.0  # level above about 1 kHz against below
    breath: float = 0.0  # aspiration, share of the voiced level
    jitter: float = 0.0  # cycle-to-cycle irregularity, share of the period
    tremor_st: float = 0.0  # 6 Hz wobble of pitch, semitones
    formants: float = 0.0  # natural logarithm of the ratio of formants (spread lips: above 0)
    attack: float = 0.0  # stress of accented syllables, 1 doubles it
    pause_s: float = 0.0  # pause between phrases


# === Table ===

FACE = {
    "neutral": FaceStyle(),
    "happy": FaceStyle(cheek_raise=0.8, smile=1.0, upper_lip=0.25, jaw=0.15, lid_tight=0.1),
    "sad": FaceStyle(brow_inner=0.9, brow_lower=0.35, lid_raise=-0.55, frown=0.8, chin_raise=0.5),
    "angry": FaceStyle(
        brow_lower=1.0, lid_raise=0.25, lid_tight=0.55, press=0.85, nose_wrinkle=0.15, frown=0.2
    ),
    "fearful": FaceStyle(
        brow_inner=0.8, brow_outer=0.45, brow_lower=0.35, lid_raise=0.8, stretch=0.8, jaw=0.3
    ),
    "disgust": FaceStyle(
        brow_lower=0.55, lid_tight=0.6, cheek_raise=0.3, nose_wrinkle=1.0, upper_lip=0.9, frown=0.4
    ),
    "surprised": FaceStyle(brow_inner=0.9, brow_outer=0.95, lid_raise=0.9, jaw=0.85, stretch=-0.35),
}

VOICE = {
    "neutral": VoiceStyle(),
    "happy": VoiceStyle(
        f0_st=4.0, f0_range=0.55, slope_st=1.0, rate=0.08, energy_db=4.0, tilt_db=3.0,
        formants=0.06, attack=0.4,
    ),
    "sad": VoiceStyle(
        f0_st=-2.0, f0_range=-0.6, slope_st=-2.5, rate=-0.22, energy_db=-6.0, tilt_db=-6.0,
        breath=0.16, jitter=0.006, formants=-0.02, attack=-0.3, pause_s=0.16,
    ),
    "angry": VoiceStyle(
        f0_st=3.5, f0_range=0.35, slope_st=-2.0, rate=0.14, energy_db=9.0, tilt_db=8.0,
        breath=-0.04, jitter=0.012, attack=1.0,
    ),
    "fearful": VoiceStyle(
        f0_st=6.5, f0_range=-0.45, rate=0.24, energy_db=1.0, tilt_db=2.0, breath=0.10,
        jitter=0.022, tremor_st=0.9,
    ),
    "disgust": VoiceStyle(
        f0_st=-2.5, f0_range=-0.1, slope_st=-1.5, rate=-0.16, energy_db=0.5, tilt_db=1.5,
        jitter=0.035, formants=-0.07, attack=0.3, pause_s=0.08,
    ),
    "surprised": VoiceStyle(
        f0_st=6.0, f0_range=0.75, slope_st=6.0, rate=0.04, energy_db=3.0, tilt_db=1.0,
        breath=0.05, attack=0.5,
    ),
}  # fmt: skip

EMOTIONS = tuple(FACE)

# How far one speaker's way of showing an emotion, and one take, stray from the table.
FACE_STRAY = 0.1
VOICE_STRAY = VoiceStyle(
    f0_st=1.0, f0_range=0.2, slope_st=1.0, rate=0.06, energy_db=1.6, tilt_db=1.6, breath=0.02,
    jitter=0.003, tremor_st=0.12, formants=0.015, attack=0.2, pause_s=0.03,
)  # fmt: skip

# === Mixing ===

Style = TypeVar("Style", FaceStyle, VoiceStyle)


@dataclass(frozen=True)
class Take:
    """How one take shows its emotion.

    Attributes:
      face, voice: parameters of face and voice, as differences from neutral.
    """

    face: FaceStyle
    voice: VoiceStyle


def mix(parts: list[tuple[float, Style]]) -> Style:
    """The weighted sum of rows of one kind."""
    kind = type(parts[0][1])
    total = sum(weight * np.asarray(astuple(row)) for weight, row in parts)
    return kind(*(float(value) for value in np.asarray(total)))


def _stray(rng: np.random.Generator, kind: type[Style], scale: float) -> Style:
    """Random differences of typical size `scale` times the table of strays."""
    noise = rng.standard_normal(len(fields(kind))).clip(-2, 2) * scale
    if kind is FaceStyle:
        return kind(*(float(value) for value in noise * FACE_STRAY))
    return kind(*(float(value) for value in noise * np.asarray(astuple(VOICE_STRAY))))


def _shown(
    rng: np.random.Generator, table: dict[str, Style], emotion: str, quirk: Style, strength: float
) -> Style:
    """One stream of a take: own strength, at times weak or mixed with another emotion."""
    strength = strength * float(rng.uniform(0.85, 1.15))
    if rng.random() < 0.08:
        strength *= 0.45
    parts = [(strength, table[emotion])]
    if rng.random() < 0.2:
        second = str(rng.choice([name for name in table if name != emotion]))
        share = float(rng.uniform(0.2, 0.45))
        parts = [(strength * (1 - share), table[emotion]), (share, table[second])]
    parts += [(1.0, quirk), (1.0, _stray(rng, type(quirk), 0.6))]
    return mix(parts)


def sample_take(seed: int, actor: int, emotion: str, take: int) -> Take:
    """How `actor` shows `emotion` in one take; the same for the same arguments.

    The two streams share part of their strength, but vary, weaken and mix independently, so that
    each carries information that the other lacks.
    """
    index = EMOTIONS.index(emotion)
    own = np.random.default_rng([seed, 11, actor, index])
    face_quirk, voice_quirk = _stray(own, FaceStyle, 1.0), _stray(own, VoiceStyle, 1.0)
    rng = np.random.default_rng([seed, 12, actor, index, take])
    strength = float(rng.uniform(0.75, 1.15))
    face = _shown(rng, FACE, emotion, face_quirk, strength)
    return Take(face, _shown(rng, VOICE, emotion, voice_quirk, strength))
