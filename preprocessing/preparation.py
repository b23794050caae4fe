"""From one clip to its records: decode, find faces, name the content. Imports no TensorFlow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from errors import MediaError
from opencv_model.choose import open_detector
from opencv_model.detector import FaceDetector
from opencv_model.track import CropFormat, FaceTracker
from preprocessing.clip import Clip
from preprocessing.faces import FaceFinder, FrameFaces
from preprocessing.frame_plan import FrameSampling
from preprocessing.media import MediaFile, Tracks
from preprocessing.records import SILENCE_PEAK, Record, content_hash, to_pcm
from preprocessing.stills import is_still, read_still


@dataclass(frozen=True)
class PreparationSettings:
    """Everything that changes the records; stored in `preprocess.json`.

    Attributes:
      detector: name of the face detector, or "none": every picture is a face already.
      max_clip_s: a longer clip becomes consecutive records of one recording, of equal length.
    """

    detector: str
    sampling: FrameSampling = field(default_factory=FrameSampling)
    face: CropFormat = field(default_factory=lambda: CropFormat(112, "grey"))
    sample_rate_hz: int = 16000
    max_clip_s: float = 10.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PreparationSettings:
        sampling = FrameSampling(**value["sampling"])
        return cls(**{**value, "sampling": sampling, "face": CropFormat(**value["face"])})


class ClipPreparer:
    """Turns clips into records; holds the detector, so open one a process."""

    def __init__(self, settings: PreparationSettings, weights_dir: Path | None = None) -> None:
        self.settings = settings
        self._detector: FaceDetector | None = None
        if settings.detector != "none":
            self._detector = open_detector(settings.detector, weights_dir)
        self._finder = FaceFinder(self._detector, settings.face)

    def records(self, clip: Clip) -> Iterator[Record]:
        """Yields the records of one clip, a stretch at a time; some of a long one may be empty.

        Raises:
          MediaError: the clip cannot be read, or holds neither sound nor a face.
        """
        yield from (self._still(clip) if is_still(clip) else self._moving(clip))

    def _still(self, clip: Clip) -> Iterator[Record]:
        seen = self._finder.in_picture(read_still(clip))
        stretch = Tracks(0.0, 0.0, None, [seen], np.zeros(1))
        record = self._record(clip, stretch, FaceTracker(), clip.key)
        if not record.face_mask.any():
            raise MediaError(f"{clip.key}: no face in the picture; --detector none takes it whole")
        yield record

    def _moving(self, clip: Clip) -> Iterator[Record]:
        with MediaFile(clip.path, clip.name) as media:
            if media.info.truncated:
                raise MediaError(
                    f"{clip.name}: truncated, holds {media.info.duration_s:.1f} s of"
                    f" {media.info.stated_duration_s:.1f} s; copy or record it again"
                )
            bounds = stretches(clip, media.info.duration_s, self.settings.max_clip_s)
            tracker = FaceTracker()
            sampling = self.settings.sampling if media.info.has_video else None
            rate = self.settings.sample_rate_hz
            useful = 0
            for number, tracks in enumerate(
                media.tracks(bounds, rate, sampling, self._finder.in_frame)
            ):
                name = clip.key if len(bounds) == 1 else f"{clip.key}#{number:05d}"
                record = self._record(clip, tracks, tracker, name)
                useful += bool(len(record.waveform) or record.face_mask.any())
                yield record
            if not useful:
                raise MediaError(f"{clip.name}: {_nothing(media)}; record it again or leave it out")

    def _record(self, clip: Clip, tracks: Tracks, tracker: FaceTracker, name: str) -> Record:
        faces, mask, boxes = self._follow(tracks.frames, tracker)
        waveform = np.zeros(0, np.int16)
        if tracks.waveform is not None and np.abs(tracks.waveform).max(initial=0) >= SILENCE_PEAK:
            waveform = to_pcm(tracks.waveform)
        audio_hash = content_hash(waveform.tobytes()) if len(waveform) else ""
        video_hash = content_hash(*(seen.content for seen in tracks.frames)) if mask.any() else ""
        if not mask.any():
            faces, mask, boxes = _no_faces()
        return Record(
            id=f"{clip.corpus}/{name}",
            path=str(clip.path),
            corpus=clip.corpus,
            label=clip.label,
            speaker=clip.speaker,
            recording=clip.recording,
            start_s=tracks.start_s,
            end_s=tracks.end_s,
            waveform=waveform,
            sample_rate_hz=self.settings.sample_rate_hz,
            faces=faces,
            face_mask=mask,
            frame_times_s=tracks.frame_times_s[: len(mask)].astype(np.float32),
            boxes_px=boxes,
            audio_hash=audio_hash,
            video_hash=video_hash,
            detector=self.settings.detector,
            transcript=clip.transcript,
            split=clip.split,
            num_frames=len(tracks.frames),
            attributes=clip.attributes,
        )

    def _follow(
        self, seen: list[FrameFaces], tracker: FaceTracker
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crops (T, size, size, C) uint8, mask (T,) bool, boxes (T, 4) float32 of one person."""
        face = self.settings.face
        crops = np.zeros((len(seen), *face.shape), np.uint8)
        mask = np.zeros(len(seen), bool)
        boxes = np.zeros((len(seen), 4), np.float32)
        for index, frame in enumerate(seen):
            chosen = tracker.choose([found.box for found in frame.faces])
            if chosen is not None:
                found = next(found for found in frame.faces if found.box == chosen)
                crops[index], mask[index] = found.crop, True
                boxes[index] = (chosen.x, chosen.y, chosen.width, chosen.height)
        return crops, mask, boxes


def stretches(clip: Clip, duration_s: float, max_clip_s: float) -> list[tuple[float, float]]:
    """Bounds of a clip's records: one, or as many of equal length as `max_clip_s` asks for.

    Raises:
      MediaError: the clip lies beyond the end of its file.
    """
    end_s = duration_s if clip.end_s is None else min(clip.end_s, duration_s)
    length_s = end_s - clip.start_s
    if length_s <= 0:
        raise MediaError(
            f"{clip.name}: from {clip.start_s:g} to {end_s:g} s there is nothing"
            f" (the file lasts {duration_s:.1f} s); correct start_s and end_s"
        )
    count = max(1, math.ceil(length_s / max_clip_s - 1e-6))
    edges = [clip.start_s + i * length_s / count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _no_faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 0, 0, 0), np.uint8), np.zeros(0, bool), np.zeros((0, 4), np.float32)


def _nothing(media: MediaFile) -> str:
    if media.info.has_audio and media.info.has_video:
        return "silent throughout and no face in it"
    return "silent throughout" if media.info.has_audio else "no sound and no face in it"
