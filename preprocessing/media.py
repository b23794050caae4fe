"""One media file, opened once, read as a stream of stretches with sound and pictures together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import av.error
import numpy as np

import places
from errors import MediaError, from_os_error
from preprocessing.frame_headers import COUNTED_FORMATS, HEAD_BYTES, lost_bytes
from preprocessing.frame_plan import FrameSampling
from preprocessing.plausible import require_filled, require_numbers, require_rate
from preprocessing.sound_clock import SoundClock, SoundPackets
from preprocessing.track_readers import AudioReader, Look, VideoReader

# At any other level PyAV takes the interpreter's lock for a line that FFmpeg writes; where one of a
# decoder's threads writes it while the decoder is being closed, both wait for ever.
av.logging.set_level(None)

# A file counts as truncated when its packets end this share before the stated end.
TRUNCATION_TOLERANCE = 0.05
# These state no duration; what the library reports is a guess from the first packets.
_GUESSED_DURATION = frozenset(["aac", "ac3", "eac3", "mp3"])
# What is opened: containers that hold their own sound and pictures, and raw codecs. Playlists (HLS,
# DASH, concat), session descriptions and devices would have the library open other files or hosts.
# Names of libavformat's demuxers (`ffmpeg -demuxers`); one of a demuxer's names is enough.
FORMATS = (
    *("wav", "w64", "aiff", "au", "caf", "voc", "nistsphere"),
    *("flac", "wv", "ape", "tta", "mp3", "aac", "ac3", "eac3", "ogg", "amr", "amrnb", "amrwb"),
    *("matroska", "mov", "avi", "flv", "asf", "mpeg", "mpegts", "mxf", "dv", "ivf", "nut", "rm"),
    *("mpegvideo", "m4v", "h264", "hevc", "obu", "mjpeg", "gif"),
    *("image2", "jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "ppm_pipe"),
)
_CONTAINER_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
    # Of image2: a name with `%d` is one file, no pattern for a row of them.
    "pattern_type": "none",
}
# A format's flag (AVFMT_TS_DISCONT): joined files are usual, whose stamps begin anew.
_CLOCK_MAY_RESTART = 0x0200
# Decoding begins this long before a stretch, so that sound codecs have settled.
SEEK_LEAD_S = 1.0


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds, found by reading its packets without decoding them.

    Attributes:
      duration_s: to the end of the last packet of sound or picture.
      has_audio, has_video: whether there is at least one packet of it.
      num_frames: video packets, without those that an edit list keeps from being shown.
      truncated: the file states a duration that its packets do not reach.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    num_frames: int
    truncated: bool
    stated_duration_s: float


@dataclass(frozen=True)
class Tracks:
    """What decoding one stretch yields.

    Attributes:
      start_s, end_s: the stretch within the file.
      waveform: (samples,) float32 mono in [-1, 1], or None without sound.
      frames: what `look` made of each wanted frame, in the order of display.
      frame_times_s: (frames,) float64, when each came on show.
    """

    start_s: float
    end_s: float
    waveform: np.ndarray | None
    frames: list[Any]
    frame_times_s: np.ndarray


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """The whole picture, upright: (H, W, 3) uint8 RGB."""
    return upright(frame.to_ndarray(format="rgb24"), frame)


def upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turns a picture as the rotation stored with its frame asks (phones record sideways)."""
    return np.rot90(picture, k=round(frame.rotation / 90) % 4)


def open_container(path: Path) -> Any:
    """Opens a file of one of `FORMATS` for reading; no other file is opened on its behalf.

    Of an object store, it is read as a stream.

    Raises:
      av.error.FFmpegError, OSError: as the library does; ArgumentError for any other format.
    """
    # The prefix keeps a name like `concat:a|b` or `http://...` from being more than a name.
    file: Any = places.open_binary(path) if places.is_remote(path) else f"file:{path}"
    return av.open(file, container_options=_CONTAINER_OPTIONS, metadata_errors="replace")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of the library name the file; some are OSErrors, as of a disk that is full.

    Raises:
      MediaError: in their place.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{name}: cannot be decoded ({error.strerror}); convert or record it again"
        ) from error


class MediaFile:
    """A recording opened for reading.

    Args:
      path: the file.
      name: how messages call it; the path when left out.
      num_threads: for decoding pictures; frames come out the same to the bit.
    Raises:
      MediaError: absent, none of `FORMATS` (a playlist is none), truncated beyond reading, or
        without sound and picture.
    """

    def __init__(self, path: str | Path, name: str = "", num_threads: int = 1) -> None:
        self.name = name or str(path)
        try:
            path = places.place(path)
            if path.stat().st_size == 0:
                raise MediaError(f"{self.name}: empty file; record or copy it again")
            self._container = open_container(path)
        except (av.error.FFmpegError, OSError) as error:
            raise _media_error(self.name, error) from error
        streams = self._container.streams
        # Of an unknown codec: as if the stream were not there.
        self._audio: Any = next((s for s in streams.audio if s.codec_context), None)
        pictures = (s for s in streams.video if s.codec_context and not _is_cover(s))
        self._video: Any = next(pictures, None)
        for stream in self._streams():
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        if num_threads > 1 and self._video is not None:
            self._video.thread_type = "FRAME"
            self._video.codec_context.thread_count = num_threads
        self._zero_s = (self._container.start_time or 0) / av.time_base
        try:
            self._scan()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> MediaFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()

    # === Packets ===

    def _scan(self) -> None:
        pts: list[int | None] = []
        keyframes: list[bool] = []
        discarded: list[bool] = []
        sounds: list[_Sound] = []
        has_headers = self._container.format.name in COUNTED_FORMATS
        video_end = 0.0
        try:
            for packet in self._container.demux(self._streams()):
                if packet.size == 0:
                    continue
                if packet.stream is self._video:
                    pts.append(packet.pts)
                    keyframes.append(packet.is_keyframe)
                    discarded.append(packet.is_discard)
                    video_end = max(video_end, self._end_s(packet))
                elif packet.stream is self._audio:  # asked for none, FFmpeg gives all
                    sounds.append(_sound(packet, has_headers))
        except (av.error.FFmpegError, OSError) as error:
            if not pts and not sounds:
                raise _media_error(self.name, error) from error
        if not pts and not sounds:
            raise MediaError(f"{self.name}: neither sound nor picture in it; record it again")
        self._has_pts = all(value is not None for value in pts)
        order = np.arange(len(pts)) if not self._has_pts else np.array(pts, np.int64)
        self._can_seek = self._has_pts and (
            bool(pts) or any(sound.stamp is not None for sound in sounds)
        )
        self._packet_order = order.astype(np.int64)
        self._packet_keyframes = np.array(keyframes, bool)
        is_shown = ~np.array(discarded, bool)[np.argsort(order, kind="stable")]
        # In order of display: an edit list may keep the first frames from ever being shown.
        self._shown = np.flatnonzero(is_shown) if self._has_pts else np.arange(len(pts))
        if self._audio is not None:
            require_rate(self.name, self._audio.codec_context.sample_rate or 0)
        stated_s = (self._container.duration or 0) / av.time_base
        states_duration = self._container.format.name not in _GUESSED_DURATION
        self._clock = self._sound_clock(sounds, stated_s if states_duration else 0.0)
        reached_s = max(self._clock.end_s, video_end) or stated_s
        require_filled(self.name, reached_s, len(sounds) + len(pts))
        self.info = MediaInfo(
            duration_s=reached_s,
            has_audio=bool(sounds),
            has_video=bool(pts),
            num_frames=len(self._shown),
            truncated=states_duration and reached_s < stated_s * (1 - TRUNCATION_TOLERANCE) - 0.1,
            stated_duration_s=stated_s,
        )

    def _sound_clock(self, sounds: Sequence[_Sound], stated_s: float) -> SoundClock:
        stamps, durations, sizes, heads = zip(*sounds, strict=True) if sounds else ((),) * 4
        rate_hz = frame_size = 0
        if self._audio is not None:
            rate_hz = self._audio.codec_context.sample_rate or 0
            frame_size = self._audio.codec_context.frame_size or 0
        return SoundClock(
            SoundPackets(
                stamps,
                durations,
                sizes,
                lost_bytes(self._container.format.name, sizes, heads),
                tick_s=float(self._audio.time_base) if self._audio is not None else 1.0,
                zero_s=self._zero_s,
                frame_s=frame_size / rate_hz if rate_hz else 0.0,
                restarts=bool(self._container.format.flags & _CLOCK_MAY_RESTART),
                stated_s=stated_s,
            )
        )

    def _streams(self) -> list[Any]:
        return [stream for stream in (self._audio, self._video) if stream is not None]

    def _end_s(self, packet: av.Packet) -> float:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or packet.time_base is None:
            return 0.0
        return float((stamp + (packet.duration or 0)) * packet.time_base) - self._zero_s

    def _frame_times_s(self) -> np.ndarray:
        """(packets,) float64: when the frame of each comes on show, ascending."""
        order = np.sort(self._packet_order)
        if self._video is None or len(order) == 0:
            return np.zeros(0)
        if self._has_pts:
            return order * float(self._video.time_base) - self._zero_s
        rate = self._video.average_rate or self._video.guessed_rate
        return order / float(rate) if rate else order * (self.info.duration_s / len(order))

    # === Stretches ===

    def tracks(
        self,
        bounds_s: Sequence[tuple[float, float]],
        sample_rate_hz: int,
        sampling: FrameSampling | None,
        look: Look = rgb,
    ) -> Iterator[Tracks]:
        """Decodes consecutive stretches in one pass over the file.

        Args:
          bounds_s: start and end of each stretch, ascending and not overlapping.
          sample_rate_hz: rate to which sound is resampled.
          sampling: which frames are wanted; None for none.
          look: called on each wanted frame at once, so that no full picture is held.
        Yields:
          Tracks of one stretch after the other; memory holds one or two stretches.
        Raises:
          MediaError: the file cannot be decoded.
        """
        with _named(self.name):
            times_s = self._frame_times_s()
            if sampling is None or self._video is None:
                chosen = [np.zeros(0, np.int64) for _ in bounds_s]
            else:
                chosen = [self._shown[i] for i in sampling.choose(times_s[self._shown], bounds_s)]
            video = VideoReader(
                self._video.codec_context if self._video is not None else None,
                self._packet_order,
                self._packet_keyframes,
                self._has_pts,
                chosen,
                look,
            )
            audio = AudioReader(self._clock, sample_rate_hz, bounds_s)
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
    ) -> Tracks:
        frames, shown = video.take(index)
        waveform = audio.take(index)
        if waveform is not None:
            require_numbers(self.name, waveform)
        return Tracks(*bounds_s, waveform, frames, frame_times_s[shown])

    def _passed(self, audio: AudioReader, video: VideoReader, index: int) -> bool:
        return video.passed(index) and (not self.info.has_audio or audio.passed(index))

    def _packets(self, start_s: float) -> Iterator[av.Packet]:
        """Packets from the last keyframe before `start_s`, then the flush ones."""
        start_s = max(start_s - SEEK_LEAD_S, 0.0) if self._can_seek else 0.0
        self._clock.rewind(to_start=not start_s)
        if start_s:
            start_s = self._clock.stamp_s_before(start_s)
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(round((start_s + self._zero_s) * av.time_base))
        with contextlib.suppress(av.error.FFmpegError, OSError):
            yield from self._container.demux(self._streams())


class _Sound(NamedTuple):
    """One packet of sound; `head` is its beginning, where its own header is asked."""

    stamp: int | None
    duration: int
    size: int
    head: bytes


def _sound(packet: av.Packet, has_header: bool) -> _Sound:
    head = bytes(packet)[:HEAD_BYTES] if has_header else b""
    return _Sound(packet.pts, packet.duration or 0, packet.size, head)


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is only the cover picture of a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


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
