"""The speech sounds of the two sentences, as targets for a formant synthesiser."""

from __future__ import annotations

from dataclasses import dataclass

STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")


@dataclass(frozen=True)
class Phoneme:
    """Targets of one sound for an average man.

    Attributes:
      f1_hz, f2_hz, f3_hz: resonances of the vocal tract.
      duration_s: at rate 1.
      voicing, breath: levels of the voice source and of breath through the open glottis, 0 to 1.
      noise: level of friction noise, 0 to 1.
      noise_hz, noise_width_hz: resonance that shapes the friction.
      opening, rounding: of the lips, 0 to 1.
      has_burst: a plosive: `duration_s` of closure, then a burst of noise.
      aspiration_s: breath after the burst.
    """

    f1_hz: float
    f2_hz: float
    f3_hz: float
    duration_s: float
    voicing: float = 0.0
    noise: float = 0.0
    noise_hz: float = 4000.0
    noise_width_hz: float = 2000.0
    opening: float = 0.3
    rounding: float = 0.0
    has_burst: bool = False
    aspiration_s: float = 0.0
    breath: float = 0.0


# === Table ===
# Vowels after Peterson & Barney 1952 (men); consonants after Klatt 1980, table III, rounded.

PHONEMES = {
    "aa": Phoneme(730, 1090, 2440, 0.13, 1.0, opening=1.0),
    "ah": Phoneme(640, 1190, 2390, 0.10, 1.0, opening=0.8),
    "ao": Phoneme(570, 840, 2410, 0.15, 1.0, opening=0.8, rounding=0.7),
    "ax": Phoneme(500, 1400, 2400, 0.06, 0.8, opening=0.45),
    "ih": Phoneme(390, 1990, 2550, 0.09, 1.0, opening=0.45),
    "iy": Phoneme(270, 2290, 3010, 0.08, 0.9, opening=0.3),
    "r": Phoneme(400, 1150, 1550, 0.08, 0.8, opening=0.35, rounding=0.5),
    "ng": Phoneme(280, 1900, 2600, 0.08, 0.5, opening=0.3),
    "dh": Phoneme(270, 1290, 2540, 0.045, 0.45, 0.06, 5500, 3000, opening=0.25),
    "z": Phoneme(250, 1390, 2530, 0.075, 0.3, 0.2, 6000, 1800, opening=0.15),
    "s": Phoneme(320, 1390, 2530, 0.12, 0.0, 0.4, 6500, 1800, opening=0.15),
    "b": Phoneme(220, 1000, 2100, 0.06, 0.2, 0.25, 900, 900, 0.0, 0.0, True),
    "d": Phoneme(220, 1700, 2600, 0.055, 0.2, 0.3, 3800, 2000, 0.2, 0.0, True),
    "g": Phoneme(220, 1900, 2300, 0.055, 0.2, 0.3, 2100, 900, 0.3, 0.0, True),
    "t": Phoneme(300, 1700, 2600, 0.06, 0.0, 0.5, 4500, 2500, 0.2, 0.0, True, 0.04),
    "k": Phoneme(300, 1900, 2400, 0.06, 0.0, 0.5, 2000, 1000, 0.3, 0.0, True, 0.05),
}

# Sounds of each sentence: `'` marks the vowel of a stressed syllable, `|` a phrase boundary.
SENTENCES = (
    "k 'ih d z aa r | t 'ao k ih ng | b 'aa iy dh ax d 'ao r",
    "d 'ao g z aa r | s 'ih t ih ng | b 'aa iy dh ax d 'ao r",
)
