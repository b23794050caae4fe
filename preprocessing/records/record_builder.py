"""Turns a clip into records: decodes, detects faces, hashes content. Imports no TensorFlow."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from affectstream.core.errors import MediaError
from affectstream.opencv_model.blendshapes import open_blendshapes
from affectstream.opencv_model.detectors.auto_detector import open_detector
from affectstream.opencv_model.tracking import FaceTracker
from affectstream.preprocessing.clip import Clip, ClipMetadata
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.faces.action_units import MEDIAPIPE, ActionUnitTrack
from affectstream.preprocessing.faces.blendshapes import BlendshapeFinder
from affectstream.preprocessing.faces.face_finder import FaceFinder, FrameFaces, PictureAnalyzer
from affectstream.preprocessing.media.companion_video import attach_companion_video
from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.media_file import MediaFile, rgb
from affectstream.preprocessing.media.media_reader import MediaInfo, MediaReader, MediaSegment
from affectstream.preprocessing.media.video.still_images import is_still_image, read_still_image
from affectstream.preprocessing.pcm import is_usable_audio, to_pcm
from affectstream.preprocessing.records.clip_checks import (
    nothing_usable,
    require_decoded,
    require_end_within,
    require_expected_duration,
    require_held,
    segment_bounds,
)
from affectstream.preprocessing.records.record import Record
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.speech_to_text.transcript_cache import (
    FAILURE_ATTRIBUTE,
    TRANSCRIBED_BY,
    CachedTranscriber,
)

# Attribute of a record: content that could not be decoded.
DAMAGE = "damage"
# Attribute of a record: the selected one of several tracks.
TRACKS = "tracks"


@dataclass(frozen=True)
class _Pictures:
    """The video stream of one record, with fields as in `Record`."""

    faces: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray
    times_s: np.ndarray
    content: str
    num_frames: int


class RecordBuilder:
    """Turns clips into records. It holds the face detector, so open one per process."""

    def __init__(self, settings: RecordSettings, weights_dir: Path | None = None) -> None:
        self.settings = settings
        units = settings.action_units
        self._finder: PictureAnalyzer | None = None
        self._shape: tuple[int, ...] = settings.face.shape
        if units is None:
            no_detector = settings.detector == "none"
            detector = None if no_detector else open_detector(settings.detector, weights_dir)
            self._finder = FaceFinder(detector, settings.face)
        else:
            self._shape = (len(units.names),)
            if units.source == MEDIAPIPE:
                self._finder = BlendshapeFinder(open_blendshapes(weights_dir))
        self._dtype = np.uint8 if units is None else np.float32
        self._transcriber: CachedTranscriber | None = None
        if settings.transcriber:
            self._transcriber = CachedTranscriber(settings.transcriber, settings.language)
            if multiprocessing.parent_process() is None:  # once, instead of in every worker
                self._transcriber.check()

    def records(self, clip: Clip, track: ActionUnitTrack | None = None) -> Iterator[Record]:
        """Yields the records of one clip, one per segment; some of a long clip may be empty.

        Args:
          track: action units of a table, which replace the video.
        Raises:
          MediaError: the clip cannot be read, or has neither audio nor a face.
        """
        if clip.text_only:
            yield self._text(clip)
        else:
            yield from (
                self._still(clip, track) if is_still_image(clip) else self._moving(clip, track)
            )

    def _text(self, clip: Clip) -> Record:
        if not clip.transcript.strip():
            raise MediaError(f"{clip.key}: an empty text; leave it out")
        return self._record(
            clip, MediaSegment(0.0, 0.0, None, [], np.zeros(0)), FaceTracker(), clip.key
        )

    def _still(self, clip: Clip, track: ActionUnitTrack | None) -> Iterator[Record]:
        picture = read_still_image(clip)
        seen = [] if self._finder is None else [self._finder.detect_image(picture)]
        stretch = MediaSegment(0.0, 0.0, None, seen, np.zeros(len(seen)))
        record = self._record(clip, stretch, FaceTracker(), clip.key, track)
        if not record.face_mask.any():
            raise MediaError(f"{clip.key}: {self._no_face_in_picture()}")
        yield record

    def _no_face_in_picture(self) -> str:
        if self._finder is None:
            return "no row of action units; add it to the table"
        whole = "--detector none takes it whole"
        other = "leave it out" if self.settings.action_units is not None else whole
        return f"no face in the picture; {other}"

    def _moving(self, clip: Clip, track: ActionUnitTrack | None) -> Iterator[Record]:
        with MediaFile(clip.path, clip.name) as media:
            min_share = self.settings.min_decoded_share
            require_held(clip, media.info, min_share)
            require_expected_duration(clip, media.info.duration_s)
            bounds = segment_bounds(clip, media.info.duration_s, self.settings.max_clip_s)
            if not media.info.truncated:  # otherwise the file ends too early
                require_end_within(clip, media.info.duration_s)
            tracker = FaceTracker()
            useful, whole = 0, Completeness()
            for number, tracks in enumerate(self._tracks(clip, media, bounds)):
                name = clip.key if len(bounds) == 1 else f"{clip.key}#{number:05d}"
                record = self._record(clip, tracks, tracker, name, track)
                useful += bool(len(record.waveform) or record.face_mask.any())
                whole += tracks.completeness
                yield _with_remarks(record, media.info, tracks.completeness)
            require_decoded(clip, whole, min_share)
            if not useful:
                raise nothing_usable(clip, media.info, self._finder is None)

    def _tracks(
        self, clip: Clip, media: MediaReader, bounds: list[tuple[float, float]]
    ) -> Iterator[MediaSegment]:
        """Segments of a clip; its video may come from another file."""
        rate, sampling, finder = self.settings.sample_rate_hz, self.settings.sampling, self._finder
        if finder is None:
            return media.segments(bounds, rate, None, rgb)
        if clip.pictures is None:
            return media.segments(
                bounds, rate, sampling if media.info.has_video else None, finder.detect_frame
            )
        sound = media.segments(bounds, rate, None, rgb)
        return attach_companion_video(sound, bounds, clip.pictures, sampling, finder.detect_image)

    def _record(
        self,
        clip: Clip,
        tracks: MediaSegment,
        tracker: FaceTracker,
        name: str,
        units: ActionUnitTrack | None = None,
    ) -> Record:
        seen = self._pictures(tracks, tracker, units)
        waveform = np.zeros(0, np.int16)
        sample_rate_hz = self.settings.sample_rate_hz
        if tracks.waveform is not None and is_usable_audio(tracks.waveform, sample_rate_hz):
            waveform = to_pcm(tracks.waveform)
        audio_hash = content_hash(waveform.tobytes()) if len(waveform) else ""
        transcript, attributes = self._words(clip, waveform, audio_hash)
        if not (clip.text_only or len(waveform) or seen.mask.any()):
            transcript = ""  # a segment without audio and faces has no speech
        return Record(
            **clip.metadata(ClipMetadata) | {"transcript": transcript, "attributes": attributes},
            id=f"{clip.corpus}/{name}",
            path=clip.key,
            start_s=round(tracks.start_s, 6),
            end_s=round(tracks.end_s, 6),
            waveform=waveform,
            sample_rate_hz=self.settings.sample_rate_hz,
            faces=seen.faces,
            face_mask=seen.mask,
            frame_times_s=seen.times_s.astype(np.float32),
            boxes_px=seen.boxes,
            audio_hash=audio_hash,
            video_hash=seen.content,
            detector=self.settings.detector,
            num_frames=seen.num_frames,
        )

    def _words(
        self, clip: Clip, waveform: np.ndarray, audio_hash: str
    ) -> tuple[str, dict[str, str]]:
        """Transcript and attributes; the corpus's own transcript takes precedence."""
        if self._transcriber is None or clip.transcript.strip() or not audio_hash:
            return clip.transcript, clip.attributes
        said = self._transcriber(waveform, self.settings.sample_rate_hz, audio_hash)
        if said.failure:
            return "", {**clip.attributes, FAILURE_ATTRIBUTE: said.failure}
        return said.text, {**clip.attributes, TRANSCRIBED_BY: self._transcriber.name}

    def _pictures(
        self, tracks: MediaSegment, tracker: FaceTracker, units: ActionUnitTrack | None
    ) -> _Pictures:
        """Faces of one segment, or the rows of the action-unit table for it."""
        if self._finder is None:
            return self._from_table(tracks, units)
        times_s = np.concatenate([tracks.frame_times_s, tracks.lost_times_s])
        order = np.argsort(times_s, kind="stable")
        seen = [*tracks.frames, *[None] * len(tracks.lost_times_s)]
        faces, mask, boxes = self._follow([seen[number] for number in order], tracker)
        if not mask.any():
            return self._nothing_seen(len(mask))
        content = content_hash(*(shown.content for shown in tracks.frames))
        return _Pictures(faces, mask, boxes, times_s[order], content, len(mask))

    def _from_table(self, tracks: MediaSegment, units: ActionUnitTrack | None) -> _Pictures:
        if units is None:
            return self._nothing_seen(0)
        end_s = tracks.end_s if tracks.end_s > tracks.start_s else math.inf  # stills have no end
        track = units.slice_time(tracks.start_s, end_s)
        if not track.mask.any() or track.times_s is None:
            return self._nothing_seen(len(track.mask))
        boxes = np.zeros((len(track.mask), 4), np.float32)
        content = content_hash(track.values.tobytes(), track.mask.tobytes())
        return _Pictures(track.values, track.mask, boxes, track.times_s, content, len(track.mask))

    def _nothing_seen(self, num_frames: int) -> _Pictures:
        faces = np.zeros([0] * (1 + len(self._shape)), self._dtype)
        boxes = np.zeros((0, 4), np.float32)
        return _Pictures(faces, np.zeros(0, bool), boxes, np.zeros(0), "", num_frames)

    def _follow(
        self, seen: Sequence[FrameFaces | None], tracker: FaceTracker
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One person's crops (T, size, size, C) uint8 or blendshapes (T, 52), mask and boxes."""
        crops = np.zeros((len(seen), *self._shape), self._dtype)
        mask = np.zeros(len(seen), bool)
        boxes = np.zeros((len(seen), 4), np.float32)
        for index, frame in enumerate(seen):
            chosen = None
            if frame is not None:
                chosen = tracker.choose([face.box for face in frame.faces])
            if frame is not None and chosen is not None:
                face = next(face for face in frame.faces if face.box == chosen)
                crops[index], mask[index] = face.crop, True
                boxes[index] = (chosen.x, chosen.y, chosen.width, chosen.height)
        return crops, mask, boxes


def _with_remarks(record: Record, info: MediaInfo, whole: Completeness) -> Record:
    """Adds remarks about damage and track choice to the attributes of a record."""
    truncated = [f"truncated: {info.truncation}"] if info.truncated else []
    remarks = {
        DAMAGE: "; ".join([*truncated, *whole.loss_messages()]),
        TRACKS: "; ".join(info.notes),
    }
    present = {name: remark for name, remark in remarks.items() if remark}
    return replace(record, attributes={**record.attributes, **present}) if present else record
