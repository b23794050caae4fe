"""Predicts records window by window as in `predict`, and pools the windows of each record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.model_rows import pad_audio, pad_frames
from affectstream.preprocessing.windowing import (
    WindowSettings,
    pool,
    select_streams,
    slice_audio,
    slice_frames,
    sound_coverage,
    window_bounds,
)

# Model inputs by name, one row per window.
Arrays = dict[str, np.ndarray]
# From input rows to (rows, classes) probabilities.
Forward = Callable[[Arrays], np.ndarray]
WINDOWS_PER_BATCH = 16


@dataclass(frozen=True)
class WindowRow:
    """One window of one record, with its available streams.

    Attributes:
      record: index of the record in its batch.
      sound: (samples,) float32; None if the stream is missing.
      frames: image of each frame; None if no face was found.
      text: transcript in the window, b"" if unknown.
    """

    record: int
    sound: np.ndarray | None = None
    frames: tuple[np.ndarray | None, ...] = ()
    text: bytes = b""


def predict_windows(
    inputs: Mapping[str, Any],
    rows: Sequence[ClipRow],
    settings: WindowSettings,
    sample_rate_hz: int | None,
    forward: Forward,
) -> np.ndarray:
    """The pooled predictions for a batch of records.

    Args:
      inputs: from `RecordDataset` with `frame_times`.
      rows: rows of `clips.csv`, one per record.
      sample_rate_hz: of the audio; None if no audio is read.
      forward: called with at most `WINDOWS_PER_BATCH` windows at a time.
    Returns:
      (records, classes) float64.
    """
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    cut = [
        window
        for record, row in enumerate(rows)
        for window in _windows_of(arrays, record, row, settings, sample_rate_hz)
    ]
    answers: list[list[np.ndarray]] = [[] for _ in rows]
    for chunk in _batched(cut):
        for window, probabilities in zip(chunk, forward(_laid_out(chunk, arrays)), strict=True):
            answers[window.record].append(probabilities)
    return np.stack([pool(np.stack(own), settings.pooling) for own in answers])


def _windows_of(
    arrays: Arrays,
    record: int,
    row: ClipRow,
    settings: WindowSettings,
    sample_rate_hz: int | None,
) -> list[WindowRow]:
    """The windows of one record that have any stream; the whole record if none has."""
    whole = _Record.of(arrays, record, row, sample_rate_hz)
    bounds = window_bounds(row.end_s - row.start_s, settings)
    windows = [whole.window(*bound, settings.min_coverage) for bound in bounds]
    present = [window for window in windows if window is not None]
    return present or [WindowRow(record, whole.sound, whole.frames, whole.text)]


@dataclass(frozen=True)
class _Record:
    """Contents of a record, with fields as in `WindowRow`.

    Attributes:
      times_s: (frames,) float32, when each frame is first shown, from the start of the file.
      start_s: start of the record in the file.
    """

    record: int
    sound: np.ndarray | None
    frames: tuple[np.ndarray | None, ...]
    text: bytes
    times_s: np.ndarray
    start_s: float
    sample_rate_hz: int | None

    @classmethod
    def of(cls, arrays: Arrays, record: int, row: ClipRow, rate_hz: int | None) -> _Record:
        sound, times_s = None, np.zeros(0, np.float32)
        frames: tuple[np.ndarray | None, ...] = ()
        if "audio" in arrays and arrays["audio_length"][record]:
            sound = arrays["audio"][record, : arrays["audio_length"][record]]
        if "video" in arrays:
            count = int(arrays["num_frames"][record])
            times_s = arrays["frame_times_s"][record, :count]
            shown = zip(arrays["video"][record], arrays["video_mask"][record, :count], strict=False)
            frames = tuple(frame if is_seen else None for frame, is_seen in shown)
        text = bytes(arrays["text"][record]) if "text" in arrays else b""
        return cls(record, sound, frames, text, times_s, row.start_s, rate_hz)

    def window(self, start_s: float, end_s: float, min_coverage: float) -> WindowRow | None:
        """One window with its available streams, None if it has none.

        Args:
          start_s, end_s: from the start of the record.
        """
        sound, covers = None, {}
        if self.sound is not None and self.sample_rate_hz is not None:
            sound = slice_audio(self.sound, self.sample_rate_hz, start_s, end_s)
            covers["audio"] = sound_coverage(sound, self.sample_rate_hz, end_s - start_s)
        within = slice_frames(self.times_s, self.start_s + start_s, self.start_s + end_s)
        frames = self.frames[within]
        covers["video"] = sum(frame is not None for frame in frames) / max(len(frames), 1)
        covers["text"] = float(bool(self.text.strip()))
        count = select_streams(covers, min_coverage)
        if not count:
            return None
        return WindowRow(
            self.record,
            sound if "audio" in count else None,
            frames if "video" in count else (),
            self.text if "text" in count else b"",
        )


def _laid_out(windows: Sequence[WindowRow], arrays: Arrays) -> Arrays:
    """The windows as model inputs, for the streams that were read."""
    inputs: Arrays = {}
    if "audio" in arrays:
        inputs |= pad_audio([window.sound for window in windows])
    if "video" in arrays:
        shown, video = [window.frames for window in windows], arrays["video"]
        inputs |= pad_frames(shown, video.shape[2:], video.dtype)
    if "text" in arrays:
        inputs["text"] = np.array([window.text for window in windows], object)
    return inputs


def _batched(windows: Sequence[WindowRow]) -> Iterator[Sequence[WindowRow]]:
    for first in range(0, len(windows), WINDOWS_PER_BATCH):
        yield windows[first : first + WINDOWS_PER_BATCH]
