"""Preview of a recording: envelope and spectrogram of its audio, and face crops.

Audio is drawn only if the recognizer decodes it: a model without audio shows none for a recording
with audio.
"""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

COLUMNS_PER_SECOND = 25
POINTS_PER_COLUMN = 2
POINTS_PER_SECOND = COLUMNS_PER_SECOND * POINTS_PER_COLUMN
NUM_ROWS = 64
TOP_HZ = 8000.0
"""Speech has little above it; a lower rate's own top is lower."""
LOWEST_DB = -80.0
JPEG_QUALITY = 85


# === Sound ===


def step_starts(num_steps: int, steps_a_second: int, rate_hz: int) -> np.ndarray:
    """(num_steps + 1,) int64: the first sample of each step, and the end of the last."""
    return np.round(np.arange(num_steps + 1) * rate_hz / steps_a_second).astype(np.int64)


def envelope(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """Lowest and highest sample of each fiftieth of a second.

    Args:
      waveform: (samples,) float32 in [-1, 1].
    Returns:
      (points, 2) float32; the last point may cover less time; empty without samples.
    """
    num_points = int(np.ceil(len(waveform) * POINTS_PER_SECOND / rate_hz - 1e-9))
    starts = step_starts(num_points, POINTS_PER_SECOND, rate_hz)[:-1]
    starts = starts[starts < len(waveform)]
    if not len(starts):
        return np.zeros((0, 2), np.float32)
    lowest = np.minimum.reduceat(waveform, starts)
    return np.stack([lowest, np.maximum.reduceat(waveform, starts)], axis=1).astype(np.float32)


def spectrogram(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mel spectrogram with 25 columns per second that do not overlap, as grey levels.

    A column covers its own 40 ms with a periodic Hann window; the last one is zero-padded. A level
    is the power in the row's band: 0 for -80 dB or less, 255 for 0 dB, the power of a sine of full
    scale.

    Args:
      waveform: (samples,) float32 in [-1, 1].
    Returns:
      (NUM_ROWS, columns) uint8, row 0 has the lowest frequencies.
    """
    num_columns = int(np.ceil(len(waveform) * COLUMNS_PER_SECOND / rate_hz - 1e-9))
    if num_columns == 0:
        return np.zeros((NUM_ROWS, 0), np.uint8)
    length = rate_hz // COLUMNS_PER_SECOND
    starts = step_starts(num_columns, COLUMNS_PER_SECOND, rate_hz)[:-1]
    padded = np.concatenate([waveform, np.zeros(length + 1, np.float32)])
    window = np.hanning(length + 1)[:-1]
    pieces = padded[starts[:, None] + np.arange(length)] * window
    fft_size = _fft_size(rate_hz)
    # Twice for the negative frequencies (Parseval), twice because a sine's mean square is a half.
    scale = 4.0 / (fft_size * np.sum(window**2))
    power = scale * np.abs(np.fft.rfft(pieces, fft_size)) ** 2
    bands = power @ mel_filters(rate_hz).T
    level_db = 10 * np.log10(np.maximum(bands, 1e-12))
    level = np.clip((level_db - LOWEST_DB) / -LOWEST_DB, 0.0, 1.0)
    return np.round(255 * level).astype(np.uint8).T


def top_hz(rate_hz: int) -> float:
    """The highest drawn frequency."""
    return min(TOP_HZ, rate_hz / 2)


def _fft_size(rate_hz: int) -> int:
    """Twice the next power of two above a column, so that every band has a frequency bin."""
    return int(2 * 2 ** int(np.ceil(np.log2(rate_hz // COLUMNS_PER_SECOND))))


@functools.lru_cache(maxsize=4)
def mel_filters(rate_hz: int) -> np.ndarray:
    """Overlapping triangles of height 1, evenly spaced in mel.

    Returns:
      (NUM_ROWS, fft_size / 2 + 1) float64.
    Source: O'Shaughnessy 1987, m = 2595 log10(1 + f / 700); as librosa's with `htk`, `norm=None`.
    """
    top_mel = 2595 * np.log10(1 + top_hz(rate_hz) / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, NUM_ROWS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(_fft_size(rate_hz), 1 / rate_hz)
    low, middle, high = (corners_hz[k : k + NUM_ROWS, None] for k in range(3))
    rising, falling = (bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)
    return np.maximum(0.0, np.minimum(rising, falling))


@dataclass
class SoundPreview:
    """Draws the audio of overlapping windows exactly once, column by column.

    Args:
      rate_hz: of the waveforms.
    """

    rate_hz: int

    def __post_init__(self) -> None:
        self._held: np.ndarray = np.zeros(0, np.float32)
        self._num_columns = 0
        self._num_fed = 0

    def feed(self, start_s: float, end_s: float, waveform: np.ndarray | None) -> dict[str, Any]:
        """Adds a window; returns the event of the completed columns, {} without any.

        Args:
          start_s, end_s: bounds of the window; it starts at or before the end of earlier ones.
          waveform: (samples,) float32; None for silence.
        """
        first, last = round(start_s * self.rate_hz), round(end_s * self.rate_hz)
        sound: np.ndarray = np.zeros(max(last - first, 0), np.float32)
        if waveform is not None:
            samples = waveform[: len(sound)]
            sound[: len(samples)] = samples
        new = sound[max(self._num_fed - first, 0) :]
        self._num_fed += len(new)
        self._held = np.concatenate([self._held, new])
        whole = int(self._num_fed * COLUMNS_PER_SECOND / self.rate_hz + 1e-9) - self._num_columns
        if whole <= 0:
            return {}
        return self._event(self._edge(whole) - self._edge(0), whole)

    def finish(self) -> dict[str, Any]:
        """Returns the event of the rest at the end of the recording, {} without any."""
        return self._event(len(self._held), 1) if len(self._held) else {}

    def _edge(self, columns_ahead: int) -> int:
        return round((self._num_columns + columns_ahead) * self.rate_hz / COLUMNS_PER_SECOND)

    def _event(self, num_samples: int, num_columns: int) -> dict[str, Any]:
        sound, self._held = self._held[:num_samples], self._held[num_samples:]
        start_s = self._num_columns / COLUMNS_PER_SECOND
        self._num_columns += num_columns
        points = envelope(sound, self.rate_hz)[: num_columns * POINTS_PER_COLUMN]
        return {
            "event": "sound",
            "start_s": round(start_s, 3),
            "end_s": round(start_s + len(sound) / self.rate_hz, 3),
            "envelope": [[round(float(v), 3) for v in pair] for pair in points],
            "spectrogram": {
                "rows": NUM_ROWS,
                "columns": num_columns,
                "columns_a_second": COLUMNS_PER_SECOND,
                "values": base64.b64encode(
                    spectrogram(sound, self.rate_hz)[:, :num_columns].tobytes("F")
                ).decode(),
            },
        }


# === Faces ===


def face_jpeg(crop: np.ndarray) -> str | None:
    """A face crop as base64 of a JPEG.

    Args:
      crop: (size, size, 1 or 3) uint8, RGB; for an action-unit model its values.
    Returns:
      None if there is no image.
    """
    if crop.ndim != 3 or crop.dtype != np.uint8:
        return None
    picture = crop[..., 0] if crop.shape[-1] == 1 else crop[..., ::-1]
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return base64.b64encode(data.tobytes()).decode() if done else None
