"""Reads all packets of a file without decoding: time stamps, sizes and key frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import av
import av.error
import numpy as np

from affectstream.preprocessing.media.audio.audio_clock import AudioPackets, AudioTimeline
from affectstream.preprocessing.media.audio.frame_headers import (
    FRAME_HEADER_BYTES,
    RAW_STREAM_FORMATS,
    frame_length_bytes,
    lost_bytes,
)

# Format flag AVFMT_TS_DISCONT: time stamps may restart, as in concatenated transport streams.
_CLOCK_MAY_RESTART = 0x0200
# Audio-only formats without pauses: a gap between packets, or at the end, means lost audio.
_UNBROKEN_FORMATS = frozenset(
    [*RAW_STREAM_FORMATS, "flac", "wav", "w64", "aiff", "au", "caf", "ogg", "wv", "ape", "tta"]
)

# Tags may take up to this share of a file; more bytes outside of frames mean damage.
_TAGS_SHARE = 0.05


class _Sound(NamedTuple):
    """One audio packet; `head` is its beginning, for formats whose frame header is read."""

    stamp: int | None
    duration: int
    size: int
    head: bytes


@dataclass(frozen=True)
class PacketScan:
    """Facts from the packets of a file.

    Attributes:
      audio_packets: in file order.
      video_stamps: presentation stamp of each video packet, in file order.
      is_keyframe, is_discarded: (frames,) bool.
      first_byte: file position of the first audio packet; 0 if unknown.
      video_end_s: end of the last frame.
      ends_inside_packet: whether the file ends within its last packet.
      zero_s: time on the clock at the start of the file.
      error: why reading ended early, if it did.
    """

    audio_packets: tuple[_Sound, ...]
    video_stamps: tuple[int | None, ...]
    is_keyframe: np.ndarray
    is_discarded: np.ndarray
    first_byte: int
    video_end_s: float
    ends_inside_packet: bool
    zero_s: float
    error: av.error.FFmpegError | OSError | None

    @property
    def num_packets(self) -> int:
        return len(self.audio_packets) + len(self.video_stamps)


def scan_packets(container: Any, audio: Any, video: Any) -> PacketScan:
    """Reads all packets of two streams, either of which may be None."""
    zero_s = (container.start_time or 0) / av.time_base
    format_name = container.format.name
    has_headers = format_name in RAW_STREAM_FORMATS
    sounds: list[_Sound] = []
    pictures: list[tuple[int | None, bool, bool]] = []
    video_end_s, is_cut, failed, first_byte = 0.0, False, None, 0
    streams = [stream for stream in (audio, video) if stream is not None]
    try:
        # With an empty list PyAV would return the packets of all streams.
        for packet in container.demux(streams) if streams else ():
            if packet.size == 0:
                continue
            if packet.stream is video:
                pictures.append((packet.pts, packet.is_keyframe, packet.is_discard))
                video_end_s = max(video_end_s, _end_s(packet, zero_s))
            elif packet.stream is audio:
                first_byte = first_byte if sounds else max(packet.pos or 0, 0)
                head = bytes(packet)[:FRAME_HEADER_BYTES] if has_headers else b""
                sounds.append(_Sound(packet.pts, packet.duration or 0, packet.size, head))
            is_cut = packet.is_corrupt
    except (av.error.FFmpegError, OSError) as error:
        failed = error
    except IndexError:  # PyAV 18 does not know a stream that starts in the middle of a damaged file
        is_cut = True
    if has_headers and sounds:
        is_cut = sounds[-1].size < (frame_length_bytes(format_name, sounds[-1].head) or 0)
    stamps, keyframes, discarded = zip(*pictures, strict=True) if pictures else ((), (), ())
    return PacketScan(
        audio_packets=tuple(sounds),
        video_stamps=stamps,
        is_keyframe=np.array(keyframes, bool),
        is_discarded=np.array(discarded, bool),
        first_byte=first_byte,
        video_end_s=video_end_s,
        ends_inside_packet=is_cut,
        zero_s=zero_s,
        error=failed,
    )


def _end_s(packet: av.Packet, zero_s: float) -> float:
    stamp = packet.pts if packet.pts is not None else packet.dts
    if stamp is None or packet.time_base is None:
        return 0.0
    return float((stamp + (packet.duration or 0)) * packet.time_base) - zero_s


def build_audio_timeline(
    container: Any, audio: Any, scanned: PacketScan, header_duration_s: float
) -> AudioTimeline:
    """Start time of each audio packet.

    Args:
      audio: the stream, or None.
      header_duration_s: length in the header; 0 if there is none.
    """
    sounds = scanned.audio_packets
    stamps, durations, sizes, heads = zip(*sounds, strict=True) if sounds else ((),) * 4
    rate_hz = frame_size = 0
    if audio is not None:
        rate_hz = audio.codec_context.sample_rate or 0
        frame_size = audio.codec_context.frame_size or 0
    return AudioTimeline(
        AudioPackets(
            stamps,
            durations,
            sizes,
            lost_bytes(container.format.name, sizes, heads),
            tick_s=float(audio.time_base) if audio is not None else 1.0,
            zero_s=scanned.zero_s,
            frame_s=frame_size / rate_hz if rate_hz else 0.0,
            restarts=bool(container.format.flags & _CLOCK_MAY_RESTART),
            header_duration_s=header_duration_s,
            is_unbroken=container.format.name in _UNBROKEN_FORMATS,
        )
    )


def adts_length_s(container: Any, audio: Any, scanned: PacketScan) -> float:
    """Duration of a raw AAC file estimated from its size, because FFmpeg skips damage silently.

    Returns:
      0 for any other file, and if all bytes belong to frames.
    """
    held = sum(sound.size for sound in scanned.audio_packets)
    size = container.size - scanned.first_byte
    if container.format.name != "aac" or not 0 < held < size * (1 - _TAGS_SHARE):
        return 0.0
    length_s = sum(sound.duration for sound in scanned.audio_packets) * float(audio.time_base)
    return length_s * size / held
