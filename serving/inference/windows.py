"""Cuts a recording of any length into overlapping windows, a few in memory at a time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.opencv_model.tracking import FaceTracker, assign_boxes
from affectstream.preprocessing.faces.face_finder import Face, FrameAnalyzer, FrameFaces
from affectstream.preprocessing.media.audio.speech_activity import StreamingVad
from affectstream.preprocessing.media.media_reader import MediaReader, MediaSegment
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.pcm import MIN_AUDIO_S, from_pcm, is_usable_audio, to_pcm
from affectstream.preprocessing.records.clip_checks import num_segments
from affectstream.preprocessing.windowing import (
    WindowSettings,
    slice_frames,
    sound_coverage,
    window_bounds,
)

# A face is reported as a person when it appears in at least this share of the frames.
MIN_FACE_SHARE = 0.1


@dataclass(frozen=True)
class ReadSettings:
    """Settings for reading a recording and cutting it into windows.

    Attributes:
      settings: of the windows.
      sample_rate_hz: rate of the waveforms; None for a model without audio.
      sampling: frame sampling of the records that the model was trained on.
      max_record_s: a recording up to this length is read exactly as `preprocess` reads one record,
        and its windows are cut from that, as `evaluate` does; 0 disables this. Otherwise
        `sampling.num_frames` are analysed per window.
    """

    settings: WindowSettings = field(default_factory=WindowSettings)
    sample_rate_hz: int | None = None
    sampling: FrameSampling = field(default_factory=FrameSampling)
    max_record_s: float = 0.0

    def is_one_record(self, duration_s: float) -> bool:
        """Whether a recording is read as one record."""
        return self.max_record_s > 0 and num_segments(duration_s, self.max_record_s) == 1

    def plan(self, duration_s: float) -> tuple[list[tuple[float, float]], FrameSampling]:
        """Bounds of the segments to decode, in order, and the frame sampling of each segment."""
        if self.is_one_record(duration_s):
            return [(0.0, duration_s)], self.sampling
        blocks = _blocks(duration_s, self.settings.hop_s)
        in_full_s = min(self.settings.window_s, duration_s)
        share = (blocks[0][1] - blocks[0][0]) / in_full_s if in_full_s > 0 else 1.0
        return blocks, FrameSampling("time", max(1, round(self.sampling.num_frames * share)))


@dataclass(frozen=True)
class TrackedFrame:
    """One frame: its time, its faces by person, and the person whose face is followed."""

    time_s: float
    faces: dict[int, Face]
    followed_id: int | None


@dataclass(frozen=True)
class Window:
    """One window of a recording.

    Attributes:
      waveform: (samples,) float32, or None without audio or with silence only.
      frames: analysed frames in it, in time order.
      sound_coverage: share of the window with audio; None for a model without audio.
      new_sound_s: seconds of audio in it that earlier windows do not contain.
      asr_waveform: (samples,) float32 for speech-to-text, or None to use `waveform`: the whole
        recording if that is read as one record, because its transcript covers all of it.
      speech_share: share of its audio that is speech; None if it is not measured.
    """

    start_s: float
    end_s: float
    waveform: np.ndarray | None
    frames: tuple[TrackedFrame, ...]
    sound_coverage: float | None = None
    new_sound_s: float = 0.0
    asr_waveform: np.ndarray | None = None
    speech_share: float | None = None


@dataclass
class FaceIdentities:
    """Assigns the faces of successive frames to persons.

    Attributes:
      last_boxes: person -> last face box.
      num_frames: number of frames that show each person.
    """

    last_boxes: dict[int, FaceBox] = field(default_factory=dict)
    num_frames: dict[int, int] = field(default_factory=dict)
    tracker: FaceTracker = field(default_factory=FaceTracker)

    def identify(self, seen: FrameFaces) -> tuple[dict[int, Face], int | None]:
        """Faces of a frame by person, and the followed person."""
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


# Sampling rate of audio that only decides whether a window is silent.
_ANY_RATE_HZ = 8000
# (start_s, end_s) -> frames from a table of action units, in place of video frames.
FrameLookup = Callable[[float, float], Sequence[TrackedFrame]]


def iter_windows(
    media: MediaReader,
    reading: ReadSettings,
    finder: FrameAnalyzer | None,
    identities: FaceIdentities,
    frame_lookup: FrameLookup | None = None,
    meter: StreamingVad | None = None,
) -> Iterator[Window]:
    """Cuts an open recording.

    Args:
      finder: None for a model without video; picklable for a file that is read in another process.
      identities: assigns faces to persons; read it after the last window.
      frame_lookup: replaces video frames, for a model with a table.
      meter: measures the share of speech in the audio, at the same rate.
    Raises:
      MediaError: the file cannot be decoded.
    """
    duration_s = media.info.duration_s
    is_one_record = reading.is_one_record(duration_s)
    stretches, sampling = reading.plan(duration_s)
    looks = finder is not None and media.info.has_video
    decode_rate_hz = reading.sample_rate_hz or _ANY_RATE_HZ
    rate_hz = reading.sample_rate_hz if media.info.has_audio else None
    blocks: deque[_Block] = deque()
    pending = deque(window_bounds(duration_s, reading.settings))
    done_s = 0.0
    look = finder.detect_frame if finder is not None else (lambda frame: frame)
    for tracks in media.segments(stretches, decode_rate_hz, sampling if looks else None, look):
        if frame_lookup is not None:
            frames = list(frame_lookup(tracks.start_s, tracks.end_s))
        else:
            frames = _seen(tracks, identities)
        heard = _as_recorded(tracks, is_one_record, decode_rate_hz)
        if meter is not None:
            meter.feed(heard if heard is not None else _silence(tracks, decode_rate_hz))
        blocks.append(_Block(tracks.start_s, tracks.end_s, heard, frames))
        while pending and (pending[0][1] <= tracks.end_s + 1e-9 or tracks.end_s >= duration_s):
            window = _window(*pending.popleft(), blocks, rate_hz, is_one_record, done_s)
            if meter is not None:
                share = meter.share(window.start_s, window.end_s)
                window = replace(window, speech_share=share)
            yield window
            done_s = window.end_s
            while blocks and pending and blocks[0].end_s <= pending[0][0]:
                blocks.popleft()


@dataclass(frozen=True)
class _Block:
    """Decoded audio and frames of one segment."""

    start_s: float
    end_s: float
    waveform: np.ndarray | None
    frames: list[TrackedFrame]


def _as_recorded(tracks: MediaSegment, is_one_record: bool, rate_hz: int) -> np.ndarray | None:
    """The audio of a segment as stored in a record: 16 bits, None without audio."""
    if tracks.waveform is None or (is_one_record and not is_usable_audio(tracks.waveform, rate_hz)):
        return None
    return from_pcm(to_pcm(tracks.waveform))


def _seen(tracks: MediaSegment, identities: FaceIdentities) -> list[TrackedFrame]:
    """The sampled frames of a segment, in time order; a damaged frame has no faces."""
    seen = [
        TrackedFrame(float(time_s), *identities.identify(faces))
        for time_s, faces in zip(tracks.frame_times_s, tracks.frames, strict=True)
    ]
    seen += [TrackedFrame(float(time_s), {}, None) for time_s in tracks.lost_times_s]
    return sorted(seen, key=lambda frame: frame.time_s)


def _silence(tracks: MediaSegment, rate_hz: int) -> np.ndarray:
    return np.zeros(round((tracks.end_s - tracks.start_s) * rate_hz), np.float32)


def _blocks(duration_s: float, hop_s: float) -> list[tuple[float, float]]:
    """Segments of equal length, so that equal numbers of frames are evenly spaced in time."""
    count = max(1, int(np.ceil(duration_s / hop_s - 1e-6)))
    edges = [*(k * duration_s / count for k in range(count)), duration_s]
    return list(itertools.pairwise(edges))


def _window(
    start_s: float,
    end_s: float,
    blocks: Sequence[_Block],
    rate_hz: int | None,
    is_one_record: bool,
    done_s: float,
) -> Window:
    """Args: done_s: end of the previous window."""
    seen = [frame for block in blocks for frame in block.frames]
    frames = tuple(seen[slice_frames([frame.time_s for frame in seen], start_s, end_s)])
    if rate_hz is None:
        return Window(start_s, end_s, None, frames)
    waveform = _sound(start_s, end_s, blocks, rate_hz)
    coverage = sound_coverage(waveform, rate_hz, end_s - start_s)
    new_s = end_s - max(start_s, done_s)
    new = sound_coverage(_sound(end_s - new_s, end_s, blocks, rate_hz), rate_hz, new_s) * new_s
    if len(waveform) < MIN_AUDIO_S * rate_hz:
        coverage, new = 0.0, 0.0
    audible = waveform if coverage > 0 else None
    asr_waveform = blocks[0].waveform if is_one_record else audible
    return Window(start_s, end_s, audible, frames, coverage, new, asr_waveform)


def _sound(start_s: float, end_s: float, blocks: Sequence[_Block], rate_hz: int) -> np.ndarray:
    first, last = round(start_s * rate_hz), round(end_s * rate_hz)
    pieces = []
    for block in blocks:
        if block.waveform is not None:
            offset = round(block.start_s * rate_hz)
            pieces.append(block.waveform[max(first - offset, 0) : max(last - offset, 0)])
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
