"""Predictions for records, window by window as in `predict`, pooled by record."""

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

# Model inputs, rows side by side.
Arrays = dict[str, np.ndarray]
# Some rows -> (rows, classes) probabilities.
Forward = Callable[[Arrays], np.ndarray]
WINDOWS_PER_BATCH = 16


@dataclass(frozen=True)
class WindowRow:
    """One window of one record, with the streams that count in it.

    Attributes:
      record: place of the record in its batch.
      sound: (samples,) float32; None where the stream is missing.
      frames: what each frame shows; None where nobody was seen.
      text: what is said, b"" where that is unknown.
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
    """The pooled answers for a batch of records.

    Args:
      inputs: of `RecordDataset` with `frame_times`.
      rows: of `clips.csv`, one a record.
      sample_rate_hz: of the sound; None where none is read.
      forward: asked about at most `WINDOWS_PER_BATCH` windows at a time.
    Returns:
      (records, classes) float64.
    """
    given = {name: np.asarray(value) for name, value in inputs.items()}
    cut = [
        window
        for record, row in enumerate(rows)
        for window in _windows_of(given, record, row, settings, sample_rate_hz)
    ]
    answers: list[list[np.ndarray]] = [[] for _ in rows]
    for few in _batched(cut):
        for window, probabilities in zip(few, forward(_laid_out(few, given)), strict=True):
            answers[window.record].append(probabilities)
    return np.stack([pool(np.stack(own), settings.pooling) for own in answers])


def _windows_of(
    given: Arrays,
    record: int,
    row: ClipRow,
    settings: WindowSettings,
    sample_rate_hz: int | None,
) -> list[WindowRow]:
    """The windows of one record in which any stream is there; the whole record if none is."""
    whole = _Record.of(given, record, row, sample_rate_hz)
    bounds = window_bounds(row.end_s - row.start_s, settings)
    windows = [whole.window(*bound, settings.min_coverage) for bound in bounds]
    found = [window for window in windows if window is not None]
    return found or [WindowRow(record, whole.sound, whole.frames, whole.text)]


@dataclass(frozen=True)
class _Record:
    """What a record holds, as `WindowRow` does.

    Attributes:
      times_s: (frames,) float32, when each frame came on show, from the start of the file.
      start_s: where the record begins in the file.
    """

    record: int
    sound: np.ndarray | None
    frames: tuple[np.ndarray | None, ...]
    text: bytes
    times_s: np.ndarray
    start_s: float
    sample_rate_hz: int | None

    @classmethod
    def of(cls, given: Arrays, record: int, row: ClipRow, rate_hz: int | None) -> _Record:
        sound, times_s = None, np.zeros(0, np.float32)
        frames: tuple[np.ndarray | None, ...] = ()
        if "audio" in given and given["audio_length"][record]:
            sound = given["audio"][record, : given["audio_length"][record]]
        if "video" in given:
            count = int(given["num_frames"][record])
            times_s = given["frame_times_s"][record, :count]
            shown = zip(given["video"][record], given["video_mask"][record, :count], strict=False)
            frames = tuple(frame if is_seen else None for frame, is_seen in shown)
        text = bytes(given["text"][record]) if "text" in given else b""
        return cls(record, sound, frames, text, times_s, row.start_s, rate_hz)

    def window(self, start_s: float, end_s: float, min_coverage: float) -> WindowRow | None:
        """One window with the streams that count, None where there is none.

        Args:
          start_s, end_s: from the beginning of the record.
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


def _laid_out(windows: Sequence[WindowRow], given: Arrays) -> Arrays:
    """The windows as inputs, those of the streams that were read."""
    inputs: Arrays = {}
    if "audio" in given:
        inputs |= pad_audio([window.sound for window in windows])
    if "video" in given:
        shown, video = [window.frames for window in windows], given["video"]
        inputs |= pad_frames(shown, video.shape[2:], video.dtype)
    if "text" in given:
        inputs["text"] = np.array([window.text for window in windows], object)
    return inputs


def _batched(windows: Sequence[WindowRow]) -> Iterator[Sequence[WindowRow]]:
    for first in range(0, len(windows), WINDOWS_PER_BATCH):
        yield windows[first : first + WINDOWS_PER_BATCH]
