"""The interface of an open recording, in this or another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.media.video.stream_decoders import FrameCallback


@dataclass(frozen=True)
class MediaInfo:
    """Facts about a file, from its packets without decoding.

    Attributes:
      duration_s: end of the last audio or video packet.
      has_audio, has_video: whether there is at least one packet of it.
      num_frames: video packets, without those hidden by an edit list.
      truncated: the file ends before the duration in its header, or within a packet.
      header_duration_s: that duration; a guess, or 0, if `has_header_duration` is false.
      notes: with several tracks, which one is used.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    num_frames: int
    truncated: bool
    header_duration_s: float
    has_header_duration: bool = True
    notes: tuple[str, ...] = ()

    @property
    def truncation(self) -> str:
        """The available share of a truncated file."""
        if self.has_header_duration:
            return f"{self.duration_s:.1f} of {self.header_duration_s:.1f} s"
        return f"{self.duration_s:.1f} s, the end is missing"

    @property
    def available_share(self) -> float:
        """Share of the header's duration that is in the file; 0 if truncated without a duration."""
        if not self.truncated:
            return 1.0
        return self.duration_s / self.header_duration_s if self.has_header_duration else 0.0


@dataclass(frozen=True)
class MediaSegment:
    """Decoded audio and frames of one segment.

    Attributes:
      start_s, end_s: bounds of the segment in the file.
      waveform: (samples,) float32 mono in [-1, 1], or None without sound.
      frames: result of `on_frame` for each sampled frame, in display order.
      frame_times_s: (frames,) float64, their display times.
      lost_times_s: (frames,) float64, display times of sampled frames that could not be decoded.
      completeness: decoded share of the segment.
    """

    start_s: float
    end_s: float
    waveform: np.ndarray | None
    frames: list[Any]
    frame_times_s: np.ndarray
    lost_times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    completeness: Completeness = field(default_factory=Completeness)


class MediaReader(Protocol):
    """A recording opened for reading; a context manager.

    Attributes:
      name: name of the file in messages.
      info: facts from its packets.
      completeness: of all segments decoded so far.
    """

    name: str
    info: MediaInfo
    completeness: Completeness

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def segments(
        self,
        bounds_s: Sequence[tuple[float, float]],
        sample_rate_hz: int,
        sampling: FrameSampling | None,
        on_frame: FrameCallback,
    ) -> Iterator[MediaSegment]:
        """Decodes consecutive segments in one pass over the file.

        Args:
          bounds_s: start and end of each segment, ascending and not overlapping.
          sample_rate_hz: rate to which audio is resampled.
          sampling: which frames to sample; None for none.
          on_frame: called on each sampled frame at once, so that no full image is kept.
        Yields:
          MediaSegment in order; memory holds one or two segments.
        Raises:
          MediaError: the file cannot be decoded.
        """
        ...
