"""Reads a media file in one pass, as consecutive segments of audio and video frames."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import av.sidedata.sidedata
import numpy as np

from affectstream.core import lfs_pointer, storage_paths
from affectstream.core.errors import MediaError, from_os_error
from affectstream.preprocessing.media.audio.audio_reader import AudioReader
from affectstream.preprocessing.media.audio.stated_length import HeaderLength, read_header_length
from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.containers import open_container
from affectstream.preprocessing.media.media_checks import (
    require_finite_samples,
    require_plausible_duration,
    require_plausible_rate,
    require_regular_file,
)
from affectstream.preprocessing.media.media_reader import MediaInfo, MediaSegment
from affectstream.preprocessing.media.packet_scan import (
    PacketScan,
    adts_length_s,
    build_audio_timeline,
    scan_packets,
)
from affectstream.preprocessing.media.track_selection import choose_tracks, find_phase_safe_channel
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.media.video.stream_decoders import (
    FrameCallback,
    VideoPackets,
    VideoReader,
)

# A file counts as truncated if its packets end this share before the end in the header.
TRUNCATION_TOLERANCE = 0.05
# These formats have no duration in their header. FFmpeg guesses it from the first packets, as it
# does for an MP3 without a Xing or VBRI header.
_GUESSED_DURATION = frozenset(["aac", "ac3", "eac3"])
# Their headers are read separately, because a stream written to a pipe ends in a cut packet.
_CHECKED = frozenset(["wav", "w64", "ogg"])
# These decoders verify checksums only if enabled; otherwise a damaged frame becomes noise.
_CHECKSUMMED = frozenset(["flac"])
DISPLAY_MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX
# Decoding begins this long before a segment, because audio codecs need time to settle.
SEEK_LEAD_S = 1.0


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """The whole image, upright: (H, W, 3) uint8 RGB. Call `to_square_pixels` before it."""
    return upright(frame.to_ndarray(format="rgb24"), frame)


def upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Rotates and mirrors an image by the matrix stored with its frame.

    Phones record sideways, front cameras mirrored; for a JPEG it is the EXIF orientation.

    Source: ISO/IEC 14496-12, section 8.5 (matrix of a track): x' = a x + c y, y' = b x + d y.
    """
    try:
        beside: Any = frame.side_data
        stored = beside.get(DISPLAY_MATRIX)
    except ValueError:  # PyAV 18 reads no EXIF with it, and then reports only the angle
        return np.rot90(picture, k=round(frame.rotation / 90) % 4)
    if stored is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(stored), np.int32)[:5].astype(np.int64)
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def pixel_aspect(video: Any) -> float:
    """Width of a pixel divided by its height, from the file or its codec; 1.0 if neither has it."""
    stated = video.sample_aspect_ratio if video is not None else None
    return float(stated) if stated else 1.0


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns FFmpeg errors into a `MediaError` that names the file.

    Raises:
      MediaError: in place of them.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{name}: cannot be decoded ({error.strerror}); convert or record it again"
        ) from error


class MediaFile:
    """A recording read in this process (a `MediaReader`).

    Args:
      path: the file.
      name: name of the file in messages; None uses the path.
      num_threads: threads for video decoding; frames are bit-identical for any number.

    Raises:
      MediaError: absent, none of `FORMATS` (playlists are not), truncated beyond reading, or
        without audio and video.
    """

    def __init__(self, path: str | Path, name: str = "", num_threads: int = 1) -> None:
        self.name = name or str(path)
        self.completeness = Completeness()
        try:
            path = storage_paths.storage_path(path)
            require_regular_file(self.name, path)
            num_bytes = path.stat().st_size
            if num_bytes == 0:
                raise MediaError(f"{self.name}: empty file; record or copy it again")
            if num_bytes <= lfs_pointer.MAX_POINTER_BYTES and lfs_pointer.is_pointer_file(path):
                raise MediaError(f"{self.name}: {lfs_pointer.POINTER_MESSAGE}")
            self._container = open_container(path)
        except (av.error.FFmpegError, OSError) as error:
            raise _media_error(self.name, error) from error
        chosen = choose_tracks(self._container, lambda: open_container(path))
        self._audio, self._video = chosen.audio, chosen.video
        self._notes = chosen.notes
        for stream in self._streams():
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        if self._audio is not None and self._audio.codec_context.name in _CHECKSUMMED:
            self._audio.codec_context.options = {"err_detect": "crccheck+explode"}
        if num_threads > 1 and self._video is not None:
            self._video.thread_type = "FRAME"
            self._video.codec_context.thread_count = num_threads
        self._zero_s = (self._container.start_time or 0) / av.time_base
        try:
            self._scan(path)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> MediaFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    # === Packets ===

    def _scan(self, path: Path) -> None:
        found = scan_packets(self._container, self._audio, self._video)
        if not found.num_packets:
            if found.error is not None:
                raise _media_error(self.name, found.error) from found.error
            raise MediaError(f"{self.name}: neither sound nor picture in it; record it again")
        pts = found.video_stamps
        has_pts = all(value is not None for value in pts)
        stamps = any(sound.stamp is not None for sound in found.audio_packets)
        self._can_seek = has_pts and (bool(pts) or stamps)
        order = np.array(pts, np.int64) if has_pts else np.arange(len(pts), dtype=np.int64)
        self._video_packets = VideoPackets(order, found.is_keyframe, has_pts)
        is_shown = ~found.is_discarded[np.argsort(order, kind="stable")]
        # In display order: an edit list may hide the first frames.
        self._shown = np.flatnonzero(is_shown) if has_pts else np.arange(len(pts))
        if self._audio is not None:
            require_plausible_rate(self.name, self._audio.codec_context.sample_rate or 0)
        self.info = self._info(found, read_header_length(path, self._container.format.name))

    def _info(self, found: PacketScan, stated: HeaderLength) -> MediaInfo:
        expected_duration_s = (self._container.duration or 0) / av.time_base
        format_name = self._container.format.name
        is_guess = not stated.is_exact if format_name == "mp3" else format_name in _GUESSED_DURATION
        if whole_s := adts_length_s(self._container, self._audio, found):
            expected_duration_s, is_guess = whole_s, False
        self._clock = build_audio_timeline(
            self._container, self._audio, found, 0.0 if is_guess else expected_duration_s
        )
        reached_s = max(self._clock.end_s, found.video_end_s) or expected_duration_s
        require_plausible_duration(self.name, reached_s, found.num_packets)
        num_stated = self._video.frames if self._video is not None else 0
        if len(found.video_stamps) < num_stated * (1 - TRUNCATION_TOLERANCE) - 1:
            expected_duration_s = max(
                expected_duration_s,
                found.video_end_s * num_stated / max(len(found.video_stamps), 1),
            )
        if stated.share < 1:
            expected_duration_s = reached_s / max(stated.share, 1e-6)
        is_short = (
            not is_guess and reached_s < expected_duration_s * (1 - TRUNCATION_TOLERANCE) - 0.1
        )
        cut_off = stated.is_cut_off or (found.ends_inside_packet and format_name not in _CHECKED)
        return MediaInfo(
            duration_s=reached_s,
            has_audio=bool(found.audio_packets),
            has_video=bool(found.video_stamps),
            num_frames=len(self._shown),
            truncated=is_short or cut_off,
            header_duration_s=expected_duration_s,
            has_header_duration=is_short,
            notes=self._notes,
        )

    def _streams(self) -> list[Any]:
        return [stream for stream in (self._audio, self._video) if stream is not None]

    def _frame_times_s(self) -> np.ndarray:
        """(packets,) float64: display time of each frame, ascending."""
        order = np.sort(self._video_packets.order)
        if self._video is None or len(order) == 0:
            return np.zeros(0)
        if self._video_packets.has_stamps:
            return order * float(self._video.time_base) - self._zero_s
        rate = self._video.average_rate or self._video.guessed_rate
        return order / float(rate) if rate else order * (self.info.duration_s / len(order))

    # === Stretches ===

    def segments(
        self,
        bounds_s: Sequence[tuple[float, float]],
        sample_rate_hz: int,
        sampling: FrameSampling | None,
        on_frame: FrameCallback = rgb,
    ) -> Iterator[MediaSegment]:
        """See `MediaReader`; without `on_frame` the frames are (H, W, 3) uint8 RGB."""
        with _named(self.name):
            times_s = self._frame_times_s()
            if sampling is None or self._video is None:
                chosen = [np.zeros(0, np.int64) for _ in bounds_s]
            else:
                chosen = [self._shown[i] for i in sampling.choose(times_s[self._shown], bounds_s)]
            video = VideoReader(
                self._video.codec_context if self._video is not None else None,
                self._video_packets,
                chosen,
                on_frame,
                pixel_aspect(self._video),
            )
            audio = AudioReader(self._clock, sample_rate_hz, bounds_s, self._channel)
            done = 0
            for packet in self._packets(bounds_s[0][0] if bounds_s else 0.0):
                (video if packet.stream is self._video else audio).feed(packet)
                while done < len(bounds_s) and self._passed(audio, video, done):
                    yield self._tracks(bounds_s[done], audio, video, done, times_s)
                    done += 1
                if done == len(bounds_s):
                    return
            audio.flush()
            if done < len(bounds_s) and not video.num_decoded and not audio.num_samples:
                raise MediaError(
                    f"{self.name}: nothing in it can be decoded; convert or record it again"
                )
            for index in range(done, len(bounds_s)):
                yield self._tracks(bounds_s[index], audio, video, index, times_s)

    def _tracks(
        self,
        bounds_s: tuple[float, float],
        audio: AudioReader,
        video: VideoReader,
        index: int,
        frame_times_s: np.ndarray,
    ) -> MediaSegment:
        taken = video.take(index)
        waveform = audio.take(index)
        if waveform is not None:
            require_finite_samples(self.name, waveform)
        expected_audio_s = self._clock.expected_audio_s(*bounds_s)
        whole = Completeness(audio.decoded_s, expected_audio_s, taken.num_whole, taken.num_wanted)
        self.completeness += whole
        shown_s, lost_s = frame_times_s[taken.shown], frame_times_s[taken.lost]
        return MediaSegment(*bounds_s, waveform, taken.outputs, shown_s, lost_s, whole)

    def _passed(self, audio: AudioReader, video: VideoReader, index: int) -> bool:
        return video.is_complete(index) and (not self.info.has_audio or audio.is_complete(index))

    def _seek(self, start_s: float) -> None:
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(round((start_s + self._zero_s) * av.time_base))

    @functools.cached_property
    def _channel(self) -> int | None:
        """Channel to use instead of the downmix if the channels cancel out; else None."""
        if self._audio is None or self._audio.codec_context.channels < 2:
            return None
        self._seek(0.0)
        return find_phase_safe_channel(self._container.demux(self._audio))

    def _packets(self, start_s: float) -> Iterator[av.Packet]:
        """Packets from the last keyframe before `start_s`, then the flush packets."""
        start_s = max(start_s - SEEK_LEAD_S, 0.0) if self._can_seek else 0.0
        self._clock.rewind(to_start=not start_s)
        if start_s:
            start_s = self._clock.stamp_s_before(start_s)
        self._seek(start_s)
        with contextlib.suppress(av.error.FFmpegError, OSError, IndexError):
            yield from self._container.demux(self._streams())


def _media_error(name: str, error: av.error.FFmpegError | OSError) -> MediaError:
    if isinstance(error, av.error.FFmpegError):
        reason = (error.strerror or "unreadable").lower()
        if isinstance(error, av.error.ArgumentError):
            reason = "a playlist, or a format that is not read here"
        return MediaError(
            f"{name}: not readable as sound or video ({reason}); truncated or another kind of file,"
            " convert or record it again"
        )
    return MediaError(str(from_os_error(error, name)))
