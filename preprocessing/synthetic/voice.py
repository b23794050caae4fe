"""A synthetic voice: glottal pulses and noise through formant resonators.

Source: Rosenberg 1971 (pulse), Klatt 1980 (cascade of resonators).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, resample_poly, sosfilt

from affectstream.preprocessing.synthetic.emotions import VoiceStyle
from affectstream.preprocessing.synthetic.phonemes import PHONEMES, SENTENCES, Phoneme
from affectstream.preprocessing.synthetic.speakers import Speaker

Floats = NDArray[np.float64]

SAMPLE_RATE_HZ = 48_000
_SYNTHESIS_RATE_HZ = 24_000
STEP_S = 0.005
_STEP = round(STEP_S * _SYNTHESIS_RATE_HZ)
_BURST_S = 0.012
_USUAL_S = 2.65  # with this much room between the silences, rate 1 is the speaker's usual rate
_EDGE_S = 0.4  # silence before and after, as in RAVDESS
_LEVEL_DB = -24.0  # of the voiced part, full scale 0
_ROOM_DB = -62.0
_BANDWIDTHS_HZ = (70.0, 95.0, 150.0, 240.0, 320.0)
_UPPER_HZ = (3500.0, 4500.0)


@dataclass(frozen=True)
class Speech:
    """One spoken sentence.

    Attributes:
      waveform: (samples,) float32 in [-1, 1], mono at 48 kHz.
      opening, rounding: (steps,) float64 in [0, 1], of the lips every 5 ms.
    """

    waveform: NDArray[np.float32]
    opening: Floats
    rounding: Floats


@dataclass(frozen=True)
class _Plan:
    """Targets every 5 ms: (steps,) float64 each; formants (steps, 3) in Hz."""

    formants_hz: Floats
    voicing: Floats
    aspiration: Floats
    friction: Floats
    friction_hz: Floats
    friction_width_hz: Floats
    opening: Floats
    rounding: Floats
    accent: Floats  # 0 to 1, near stressed vowels
    spoken: Floats  # 1 from the first sound to the last


# === Articulation ===


def _segments(statement: int, rate: float, pause_s: float) -> list[tuple[Phoneme, float, bool]]:
    """Sounds with their durations in seconds and whether each is stressed; a pause is shut lips."""
    rest = Phoneme(500, 1500, 2500, pause_s, opening=0.08)
    segments: list[tuple[Phoneme, float, bool]] = []
    for symbol in SENTENCES[statement - 1].split():
        if symbol == "|":
            if pause_s >= STEP_S:
                segments.append((rest, pause_s, False))
            continue
        stressed = symbol.startswith("'")
        sound = PHONEMES[symbol.lstrip("'")]
        length = sound.duration_s / rate * (1.25 if stressed else 1.0)
        if not sound.has_burst:
            segments.append((sound, length, stressed))
            continue
        segments.append((replace(sound, noise=0.0), length, False))
        segments.append((replace(sound, voicing=0.0), _BURST_S, False))
        if sound.aspiration_s:
            breath = replace(sound, noise=0.0, breath=0.35)
            segments.append((breath, sound.aspiration_s / rate, False))
    return segments


def _plan(segments: list[tuple[Phoneme, float, bool]], num_steps: int, start: int) -> _Plan:
    """Lays the sounds along the clip and lets them run into each other."""
    silence = Phoneme(500, 1500, 2500, 0.0, opening=0.05)
    sounds = [silence] * num_steps
    accent, spoken = np.zeros(num_steps), np.zeros(num_steps)
    begin, until_s = start, start * STEP_S
    for sound, length_s, stressed in segments:
        until_s += length_s
        end = min(round(until_s / STEP_S), num_steps)
        sounds[begin:end] = [sound] * (end - begin)
        accent[begin:end] = float(stressed)
        spoken[begin:end] = 1.0
        begin = end

    def track(name: str, smooth_steps: float) -> Floats:
        values = np.array([getattr(sound, name) for sound in sounds], np.float64)
        return np.asarray(gaussian_filter1d(values, smooth_steps))

    return _Plan(
        formants_hz=np.stack([track(name, 4) for name in ("f1_hz", "f2_hz", "f3_hz")], 1),
        voicing=track("voicing", 1.6),
        aspiration=track("breath", 1.6),
        friction=track("noise", 0.7),
        friction_hz=track("noise_hz", 1),
        friction_width_hz=track("noise_width_hz", 1),
        opening=track("opening", 6),
        rounding=track("rounding", 6),
        accent=np.asarray(gaussian_filter1d(accent, 9)) / max(accent.max(), 1e-9),
        spoken=spoken,
    )


# === Source ===


def _pitch_hz(plan: _Plan, speaker: Speaker, style: VoiceStyle, rng: np.random.Generator) -> Floats:
    """Pitch every 5 ms: declination, accents, tremor and slow wander."""
    steps = np.arange(len(plan.accent))
    inside = np.flatnonzero(plan.spoken)
    along = np.clip((steps - inside[0]) / max(inside[-1] - inside[0], 1), 0, 1)
    movement = 2.2 * np.exp(style.f0_range)
    wander = gaussian_filter1d(rng.standard_normal(len(steps)), 20)
    wander *= 0.25 * movement / (wander.std() + 1e-9)
    pitch_st = style.f0_st - 2.0 * along + style.slope_st * along**1.5 + wander
    pitch_st += movement * (plan.accent - 0.3)
    tremor = max(style.tremor_st, 0)
    pitch_st += tremor * np.sin(2 * np.pi * 6.0 * steps * STEP_S + rng.uniform(0, 6.28))
    return np.asarray(np.clip(speaker.f0_hz * 2 ** (pitch_st / 12), 60, 520))


def _pulses(pitch_hz: Floats, style: VoiceStyle, rng: np.random.Generator) -> Floats:
    """Derivative of the glottal flow at the synthesis rate, about 1 at its peaks."""
    per_sample = np.repeat(pitch_hz, _STEP) / _SYNTHESIS_RATE_HZ
    cycle = np.cumsum(per_sample).astype(int)
    jitter = 0.004 + max(style.jitter, 0)
    period = 1 + jitter * rng.standard_normal(cycle[-1] + 2)
    shimmer = 1 + (0.03 + 3 * max(style.jitter, 0)) * rng.standard_normal(cycle[-1] + 2)
    turns = np.cumsum(per_sample / np.clip(period, 0.7, 1.4)[cycle])
    phase, cycle = turns % 1.0, np.minimum(turns.astype(int), cycle[-1] + 1)
    rise = np.clip(0.42 - 0.008 * style.tilt_db, 0.3, 0.5)
    fall = np.clip(0.18 - 0.006 * style.tilt_db, 0.08, 0.26)
    flow = np.where(
        phase < rise,
        0.5 * (1 - np.cos(np.pi * phase / rise)),
        np.cos(0.5 * np.pi * np.clip((phase - rise) / fall, 0, 1)),
    )
    pulses = np.diff(flow * shimmer[cycle], prepend=0.0)
    return np.asarray(pulses / (np.abs(pulses).max() + 1e-9))


def _tilted(signal: Floats, tilt_db: float) -> Floats:
    """Raises or lowers frequencies above about 1 kHz by `tilt_db`."""
    pole = np.exp(-2 * np.pi * 1000 / _SYNTHESIS_RATE_HZ)
    low = lfilter([1 - pole], [1, -pole], signal)
    return np.asarray(low + 10 ** (tilt_db / 20) * (signal - low))


# === Vocal tract ===


def _resonators(frequencies_hz: Floats, bandwidths_hz: Floats) -> Floats:
    """Second-order sections of unit gain at 0 Hz, (..., 6)."""
    radius = np.exp(-np.pi * bandwidths_hz / _SYNTHESIS_RATE_HZ)
    b = 2 * radius * np.cos(2 * np.pi * frequencies_hz / _SYNTHESIS_RATE_HZ)
    c = -(radius**2)
    zero, one = np.zeros_like(b), np.ones_like(b)
    return np.stack([1 - b - c, zero, zero, one, -b, -c], -1)


def _through_tract(source: Floats, plan: _Plan, scale: float) -> Floats:
    """Cascade of five resonators whose frequencies move every 5 ms."""
    upper = np.tile(_UPPER_HZ, (len(plan.formants_hz), 1))
    frequencies = scale * np.concatenate([plan.formants_hz, upper], 1)
    sections = _resonators(frequencies, np.broadcast_to(_BANDWIDTHS_HZ, frequencies.shape))
    state = np.zeros((5, 2))
    out = np.empty_like(source)
    for step, cascade in enumerate(sections):
        part = slice(step * _STEP, (step + 1) * _STEP)
        out[part], state = sosfilt(cascade, source[part], zi=state)
    return out


def _friction(plan: _Plan, rng: np.random.Generator) -> Floats:
    """Noise of fricatives and bursts, shaped by one resonator."""
    noise = rng.standard_normal(len(plan.friction) * _STEP)
    sections = _resonators(plan.friction_hz, plan.friction_width_hz)[:, None]
    sections[..., :3] = (1, 0, -1)
    out, state = np.zeros_like(noise), np.zeros((1, 2))
    for step in np.flatnonzero(plan.friction > 1e-3):
        part = slice(step * _STEP, (step + 1) * _STEP)
        shaped, state = sosfilt(sections[step], noise[part], zi=state)
        out[part] = shaped * plan.friction[step]
    return out


# === Sentence ===


def _timed(
    speaker: Speaker, style: VoiceStyle, statement: int, duration_s: float
) -> list[tuple[Phoneme, float, bool]]:
    """The sounds of a sentence, at a rate that leaves silence at both ends of the clip."""
    usual = _USUAL_S / max(duration_s - 2 * _EDGE_S, 0.1 * duration_s)
    rate = speaker.rate * float(np.exp(style.rate)) * usual
    segments = _segments(statement, rate, max(0.03 + style.pause_s, 0) / usual)
    length_s = sum(length for _, length, _ in segments)
    shrink = min(1.0, (duration_s - 1.8 * _EDGE_S) / length_s)
    return [(sound, length * shrink, stressed) for sound, length, stressed in segments]


def _voiced(plan: _Plan, speaker: Speaker, style: VoiceStyle, rng: np.random.Generator) -> Floats:
    """The voice without friction noise, of deviation 1 where it sounds."""
    pulses = _pulses(_pitch_hz(plan, speaker, style, rng), style, rng)
    stress = 1 + (0.35 + 0.5 * style.attack) * (plan.accent - 0.3)
    voicing = np.repeat(plan.voicing * np.clip(stress, 0.3, 2.5), _STEP)
    breath = np.clip(speaker.breath + style.breath, 0.01, 0.5)
    aspiration = breath * voicing + np.repeat(plan.aspiration, _STEP)
    source = pulses * voicing + 0.35 * aspiration * rng.standard_normal(len(voicing))
    source = _tilted(source, style.tilt_db + speaker.tilt_db)
    voiced = _through_tract(source, plan, speaker.formant_scale * float(np.exp(style.formants)))
    return np.asarray(voiced / np.sqrt((voiced[voicing > 0.3] ** 2).mean()))


def speak(
    speaker: Speaker,
    style: VoiceStyle,
    statement: int,
    duration_s: float,
    rng: np.random.Generator,
) -> Speech:
    """Speaks one of the two sentences; the same for the same state of `rng`.

    Args:
      speaker: whose voice.
      style: how it differs from the speaker's neutral voice.
      statement: 1 or 2.
      duration_s: length of the whole clip, with about 0.4 s of near-silence at both ends.
      rng: source of all randomness.
    """
    num_steps = int(np.ceil(duration_s / STEP_S))
    start = round(_EDGE_S * rng.uniform(0.8, 1.0) / STEP_S)
    plan = _plan(_timed(speaker, style, statement, duration_s), num_steps, start)
    voiced = _voiced(plan, speaker, style, rng)
    hiss = _friction(plan, rng) * 10 ** (0.5 * style.tilt_db / 20)
    gain = 10 ** ((_LEVEL_DB + speaker.gain_db + style.energy_db) / 20)
    mixed = resample_poly(gain * (voiced + 0.22 * hiss), SAMPLE_RATE_HZ, _SYNTHESIS_RATE_HZ)
    room = lfilter([0.3], [1, -0.7], rng.standard_normal(len(mixed))) * 10 ** (_ROOM_DB / 20)
    waveform = 0.95 * np.tanh((mixed + room) / 0.95)
    num_samples = round(duration_s * SAMPLE_RATE_HZ)
    return Speech(waveform[:num_samples].astype(np.float32), plan.opening, plan.rounding)
