"""Decodes the requested frames of a video, and no more packets than needed for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.error
import numpy as np

from affectstream.preprocessing.media.video.frame_sampling import plan_packets

FrameCallback = Callable[[av.VideoFrame], Any]

# An aspect ratio outside this range is an error in the file and is ignored.
PIXEL_ASPECT_RANGE = (0.2, 5.0)

# Decoders that read `skip_frame` for each packet; dav1d (AV1) reads it once, when it opens.
_SKIPPING_DECODERS = frozenset(["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"])


@dataclass(frozen=True)
class VideoPackets:
    """Facts about the packets of a video stream.

    Attributes:
      order: (packets,) int64 presentation stamps in file order, or numbers without stamps.
      is_keyframe: (packets,) bool, in file order.
      has_stamps: whether packets carry presentation stamps.
    """

    order: np.ndarray
    is_keyframe: np.ndarray
    has_stamps: bool


@dataclass(frozen=True)
class SegmentFrames:
    """The sampled frames of one segment.

    Attributes:
      outputs: result of `on_frame` for each decoded frame.
      shown, lost: (frames,) int64 display indices of these, and of the others.
      num_whole: new frames decoded without damage, of `num_wanted`; a frame that was also sampled
        for the previous segment is not counted again.
    """

    outputs: list[Any]
    shown: np.ndarray
    lost: np.ndarray
    num_whole: int
    num_wanted: int


def to_square_pixels(frame: av.VideoFrame, pixel_aspect: float) -> av.VideoFrame:
    """The frame as displayed, with square pixels and the same height.

    Args:
      pixel_aspect: stored width of a pixel divided by its height.
    """
    width = round(frame.width * pixel_aspect)
    if (
        not PIXEL_ASPECT_RANGE[0] <= pixel_aspect <= PIXEL_ASPECT_RANGE[1]
        or abs(width - frame.width) < 2
    ):
        return frame
    return frame.reformat(width=width, height=frame.height)


class VideoReader:
    """Decodes no more packets than the sampled frames need.

    Packets after the last sampled frame of a group of pictures are not decoded, and the decoder
    skips frames to which no other refers; sampled frames are bit-identical.

    Args:
      codec_context: of the video stream.
      packets: of that stream.
      chosen: display indices of the sampled frames of each segment.
      on_frame: called once per sampled frame, with square pixels.
      pixel_aspect: width of a pixel divided by its height.
    """

    def __init__(
        self,
        codec_context: Any,
        packets: VideoPackets,
        chosen: Sequence[np.ndarray],
        on_frame: FrameCallback,
        pixel_aspect: float = 1.0,
    ) -> None:
        self._pixel_aspect = pixel_aspect
        self._context = codec_context
        self._can_skip = codec_context is not None and codec_context.name in _SKIPPING_DECODERS
        self._has_stamps = packets.has_stamps
        self._chosen = chosen
        self._on_frame = on_frame
        self._file_order = np.argsort(packets.order, kind="stable")
        self._stamps = packets.order[self._file_order]
        self._wanted = {int(i) for indices in chosen for i in indices}
        wanted = np.zeros(len(packets.order), bool)
        wanted[self._file_order[sorted(self._wanted)]] = True
        self._plan = plan_packets(packets.order, packets.is_keyframe, wanted)
        self._looked: dict[int, Any] = {}
        self._position = self._last_taken = -1
        self._damaged: set[int] = set()
        self._is_hurt = False
        self._packets_seen = 0
        self._frames_seen = 0
        self.num_decoded = 0
        self.num_damaged = 0

    def feed(self, packet: av.Packet) -> None:
        """Decodes one packet if a wanted frame needs it; a damaged one is counted, not raised."""
        number = self._packets_seen
        self._packets_seen += 1
        if packet.size and self._has_stamps:
            number = int(self._file_order[self._display_index(packet.pts)])
            if not self._plan.decode[number]:
                return
            if self._can_skip:
                self._context.skip_frame = "DEFAULT" if self._plan.wanted[number] else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.num_damaged += 1
            self._is_hurt = True
            return
        for frame in frames:
            self._keep(frame)

    def _display_index(self, stamp: int | None) -> int:
        index = int(np.searchsorted(self._stamps, stamp or 0))
        return min(index, len(self._stamps) - 1)

    def _keep(self, frame: av.VideoFrame) -> None:
        index = self._display_index(frame.pts) if self._has_stamps else self._frames_seen
        self._frames_seen += 1
        self._position = max(self._position, index)
        # Damage spreads through the frames that refer to this one, up to the next key frame.
        self._is_hurt = frame.is_corrupt or (self._is_hurt and not frame.key_frame)
        if self._is_hurt and index in self._wanted:
            self._damaged.add(index)
        if index in self._wanted and index not in self._looked:
            try:
                self._looked[index] = self._on_frame(to_square_pixels(frame, self._pixel_aspect))
            except av.error.FFmpegError:  # its pixel format cannot be converted
                self.num_damaged += 1
                return
        self.num_decoded += 1

    def is_complete(self, index: int) -> bool:
        """Whether all sampled frames of a segment have been decoded or lost."""
        return len(self._chosen[index]) == 0 or self._position >= self._chosen[index][-1]

    def take(self, index: int) -> SegmentFrames:
        """Takes the frames of a segment."""
        wanted = [int(i) for i in self._chosen[index]]
        present = [i for i in wanted if i in self._looked]
        outputs = [self._looked[i] for i in present]
        later = {int(i) for indices in self._chosen[index + 1 : index + 2] for i in indices}
        new = [i for i in wanted if i > self._last_taken]
        num_whole = sum(i in self._looked and i not in self._damaged for i in new)
        for i in present:
            if i not in later:
                del self._looked[i]
        self._last_taken = max(self._last_taken, *wanted) if wanted else self._last_taken
        lost = [i for i in wanted if i not in present]
        shown = np.array(present, np.int64)
        return SegmentFrames(outputs, shown, np.array(lost, np.int64), num_whole, len(new))
