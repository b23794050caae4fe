"""A recording of any length as overlapping windows, a few in memory at a time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from opencv_model.detector import FaceBox
from opencv_model.track import FaceTracker, assign_boxes
from preprocessing.blendshapes import BlendshapeFinder
from preprocessing.faces import Face, FaceFinder, FrameFaces
from preprocessing.frame_plan import FrameSampling
from preprocessing.media import MediaFile, Tracks
from preprocessing.records import SILENCE_PEAK
from serving.elsewhere import FileElsewhere, Looker

# A face counts as one more person when it is there for this share of a recording's frames.
MIN_FACE_SHARE = 0.1


@dataclass(frozen=True)
class WindowSettings:
    """How a recording is cut.

    Attributes:
      window_s, hop_s: length of a window and the step to the next.
      frames_a_window: frames looked at in a full window, evenly in time.
    """

    window_s: float = 3.0
    hop_s: float = 1.5
    frames_a_window: int = 16

    def frames_in(self, block_s: float, duration_s: float) -> int:
        """Frames of a stretch, so that a window, or all of a shorter recording, has its number."""
        share = block_s / min(self.window_s, duration_s) if duration_s > 0 else 1.0
        return max(1, round(self.frames_a_window * share))


@dataclass(frozen=True)
class SeenFrame:
    """One frame: when it is on show, all its faces by person, and whose face is followed."""

    time_s: float
    faces: dict[int, Face]
    followed: int | None


@dataclass(frozen=True)
class Window:
    """One window of a recording.

    Attributes:
      waveform: (samples,) float32, or None where there is no sound or only silence.
      frames: those looked at within it, in order of time.
    """

    start_s: float
    end_s: float
    waveform: np.ndarray | None
    frames: tuple[SeenFrame, ...]


@dataclass
class People:
    """Tells one face from another over the frames of a recording.

    Attributes:
      last_boxes: person -> where it was last seen.
      num_frames: frames in which each was seen.
    """

    last_boxes: dict[int, FaceBox] = field(default_factory=dict)
    num_frames: dict[int, int] = field(default_factory=dict)
    tracker: FaceTracker = field(default_factory=FaceTracker)

    def name(self, seen: FrameFaces) -> tuple[dict[int, Face], int | None]:
        """The faces of a frame by person, and the person that is followed in it."""
        known = list(self.last_boxes)
        boxes = [face.box for face in seen.faces]
        assigned = assign_boxes([self.last_boxes[person] for person in known], boxes)
        named: dict[int, Face] = {}
        for face, place in zip(seen.faces, assigned, strict=True):
            person = known[place] if place is not None else len(self.last_boxes)
            self.last_boxes[person] = face.box
            self.num_frames[person] = self.num_frames.get(person, 0) + 1
            named[person] = face
        chosen = self.tracker.choose(boxes)
        followed = next((p for p, face in named.items() if face.box == chosen), None)
        return named, followed


def windows(
    media: MediaFile | FileElsewhere,
    settings: WindowSettings,
    sample_rate_hz: int | None,
    finder: FaceFinder | BlendshapeFinder | Looker | None,
    people: People,
) -> Iterator[Window]:
    """Cuts an open recording; the last window ends with the recording.

    Args:
      sample_rate_hz: rate of the waveforms; None for a model without sound.
      finder: None for a model that looks at no picture; a `Looker` for a file read elsewhere.
      people: keeps faces apart; read it after the last window.
    Raises:
      MediaError: the file cannot be decoded.
    """
    duration_s = media.info.duration_s
    bounds = window_bounds(duration_s, settings)
    stretches = _blocks(duration_s, settings.hop_s)
    sampling = None
    if finder is not None and media.info.has_video:
        count = settings.frames_in(stretches[0][1] - stretches[0][0], duration_s)
        sampling = FrameSampling("time", count)
    rate = sample_rate_hz or 8000
    blocks: deque[tuple[Tracks, list[SeenFrame]]] = deque()
    pending = deque(bounds)
    look = finder.in_frame if finder is not None else (lambda frame: frame)
    for tracks in media.tracks(stretches, rate, sampling, look):
        frames = [
            SeenFrame(float(time_s), *people.name(seen))
            for time_s, seen in zip(tracks.frame_times_s, tracks.frames, strict=True)
        ]
        blocks.append((tracks, frames))
        while pending and (pending[0][1] <= tracks.end_s + 1e-9 or tracks.end_s >= duration_s):
            start_s, end_s = pending.popleft()
            yield _window(start_s, end_s, blocks, rate if sample_rate_hz else None)
            while blocks and pending and blocks[0][0].end_s <= pending[0][0]:
                blocks.popleft()


def window_bounds(duration_s: float, settings: WindowSettings) -> list[tuple[float, float]]:
    """Start and end of each window: one every hop, and a last one that ends with the recording."""
    window_s, hop_s = settings.window_s, settings.hop_s
    if duration_s <= window_s:
        return [(0.0, duration_s)]
    count = int((duration_s - window_s) / hop_s + 1e-6) + 1
    bounds = [(k * hop_s, k * hop_s + window_s) for k in range(count)]
    if bounds[-1][1] < duration_s - 0.05:
        bounds.append((duration_s - window_s, duration_s))
    return bounds


def _blocks(duration_s: float, hop_s: float) -> list[tuple[float, float]]:
    """Stretches of equal length, so that as many frames of each are spread evenly in time."""
    count = max(1, int(np.ceil(duration_s / hop_s - 1e-6)))
    edges = [*(k * duration_s / count for k in range(count)), duration_s]
    return list(itertools.pairwise(edges))


def _window(
    start_s: float,
    end_s: float,
    blocks: deque[tuple[Tracks, list[SeenFrame]]],
    rate_hz: int | None,
) -> Window:
    frames = tuple(f for _, seen in blocks for f in seen if start_s <= f.time_s < end_s)
    waveform = None
    if rate_hz is not None:
        waveform = _sound(start_s, end_s, blocks, rate_hz)
        if not len(waveform) or np.abs(waveform).max() < SILENCE_PEAK:
            waveform = None
    return Window(start_s, end_s, waveform, frames)


def _sound(
    start_s: float,
    end_s: float,
    blocks: deque[tuple[Tracks, list[SeenFrame]]],
    rate_hz: int,
) -> np.ndarray:
    first, last = round(start_s * rate_hz), round(end_s * rate_hz)
    pieces = []
    for tracks, _ in blocks:
        if tracks.waveform is not None:
            offset = round(tracks.start_s * rate_hz)
            pieces.append(tracks.waveform[max(first - offset, 0) : max(last - offset, 0)])
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
