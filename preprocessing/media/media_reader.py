"""What an open recording offers, whatever process reads it."""

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
    """What a file holds, found by reading its packets without decoding them.

    Attributes:
      duration_s: to the end of the last packet of sound or picture.
      has_audio, has_video: whether there is at least one packet of it.
      num_frames: video packets, without those that an edit list keeps from being shown.
      truncated: the file ends before the duration that it states, or within a packet.
      header_duration_s: the former; a guess, or 0, where `has_header_duration` is false.
      notes: of several tracks, which is used.
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
        """How much of a truncated file is there."""
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
    """What decoding one stretch yields.

    Attributes:
      start_s, end_s: the stretch within the file.
      waveform: (samples,) float32 mono in [-1, 1], or None without sound.
      frames: what `on_frame` made of each wanted frame, in the order of display.
      frame_times_s: (frames,) float64, when each came on show.
      lost_times_s: (frames,) float64, the same of wanted frames that could not be decoded.
      completeness: what of it could be decoded.
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
      name: how messages call it.
      info: what its packets say.
      completeness: of all stretches that were decoded so far.
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
        """Decodes consecutive stretches in one pass over the file.

        Args:
          bounds_s: start and end of each stretch, ascending and not overlapping.
          sample_rate_hz: rate to which sound is resampled.
          sampling: which frames are wanted; None for none.
          on_frame: called on each wanted frame at once, so that no full picture is held.
        Yields:
          MediaSegment of one stretch after the other; memory holds one or two stretches.
        Raises:
          MediaError: the file cannot be decoded.
        """
        ...
