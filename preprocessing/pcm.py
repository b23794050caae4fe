"""Audio as stored in records: int16 PCM; defines which audio counts as missing."""

from __future__ import annotations

import numpy as np

INT16_SCALE = 32768.0
# Below this peak (-80 dB of full scale) around its mean, audio counts as missing.
SILENCE_PEAK = 1e-4
# Shorter audio counts as missing: it cannot contain a syllable.
MIN_AUDIO_S = 0.1


def to_pcm(waveform: np.ndarray) -> np.ndarray:
    """(samples,) float32 in [-1, 1] -> int16; louder samples are clipped."""
    return np.clip(np.rint(waveform * INT16_SCALE), -32768, 32767).astype(np.int16)


def from_pcm(pcm: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return pcm.astype(np.float32) / np.float32(INT16_SCALE)


def is_silent(waveform: np.ndarray | None) -> bool:
    """Whether (samples,) float32 is silent; a constant offset is silence."""
    if waveform is None or not len(waveform):
        return True
    return bool(np.abs(waveform - waveform.mean(dtype=np.float64)).max() < SILENCE_PEAK)


def is_usable_audio(waveform: np.ndarray | None, sample_rate_hz: int) -> bool:
    """Whether (samples,) float32 is usable: at least 0.1 s long, and not silent."""
    if waveform is None or len(waveform) < MIN_AUDIO_S * sample_rate_hz:
        return False
    return not is_silent(waveform)


def missing_audio_reason(has_audio: bool, duration_s: float) -> str:
    """Reason why a recording has no usable audio.

    Args:
      has_audio: whether it has an audio track.
    """
    if has_audio and duration_s < MIN_AUDIO_S:
        return f"less than {MIN_AUDIO_S:g} s of sound"
    return "silent" if has_audio else "no sound"
