"""Chooses the frames to sample from a video and the packets that must be decoded for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLING_MODES = ("time", "every-third")
# The first twenty frames of a RAVDESS clip are skipped: the actor has not begun to speak.
# Source: RAVDESS two-stream system, docs/reproduced_systems.md.
EVERY_THIRD_FIRST_FRAME = 20
EVERY_THIRD_STEP = 3


@dataclass(frozen=True)
class FrameSampling:
    """How frames are sampled from a video segment.

    Attributes:
      mode: "time": the displayed frame at each of `num_frames` evenly spaced times in the segment;
        "every-third": every third frame of the file from the 21st (from the first in a file with
        fewer than 21), in any number.
      num_frames: frames per segment, for mode "time".
    """

    mode: str = "time"
    num_frames: int = 16

    def __post_init__(self) -> None:
        if self.mode not in SAMPLING_MODES:
            raise ValueError(
                f"sampling must be one of {', '.join(SAMPLING_MODES)}; got {self.mode!r}"
            )
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1; got {self.num_frames}")

    def choose(
        self, frame_times_s: np.ndarray, bounds_s: Sequence[tuple[float, float]]
    ) -> list[np.ndarray]:
        """Indices of the sampled frames for each segment.

        Args:
          frame_times_s: (frames,) float64, ascending: display time of each frame.
          bounds_s: start and end of each segment in seconds.
        Returns:
          one ascending int array per segment, without duplicates.
        """
        if len(frame_times_s) == 0:
            return [np.zeros(0, np.int64) for _ in bounds_s]
        if self.mode == "every-third":
            first = EVERY_THIRD_FIRST_FRAME if len(frame_times_s) > EVERY_THIRD_FIRST_FRAME else 0
            every = np.arange(first, len(frame_times_s), EVERY_THIRD_STEP)
            times = frame_times_s[every]
            return [every[(times >= start) & (times < end)] for start, end in bounds_s]
        return [self._spread(frame_times_s, start, end) for start, end in bounds_s]

    def _spread(self, frame_times_s: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
        moments = start_s + (np.arange(self.num_frames) + 0.5) * (end_s - start_s) / self.num_frames
        on_show = np.searchsorted(frame_times_s, moments, side="right") - 1
        return np.unique(np.maximum(on_show, 0))


@dataclass(frozen=True)
class PacketPlan:
    """What to do with each video packet, in file order.

    Attributes:
      decode: (packets,) bool: must be sent to the decoder.
      wanted: (packets,) bool: holds a sampled frame; the decoder may skip other frames that no
        frame refers to.
    """

    decode: np.ndarray
    wanted: np.ndarray


def plan_packets(times: np.ndarray, is_keyframe: np.ndarray, wanted: np.ndarray) -> PacketPlan:
    """Skips packets after the last sampled frame of each group of pictures.

    A group is still decoded to its end if the next one begins with frames displayed before its
    keyframe (an open group), because those refer back to it.

    Args:
      times: (packets,) presentation times in file order, any unit.
      is_keyframe: (packets,) bool.
      wanted: (packets,) bool.
    """
    starts = np.flatnonzero(is_keyframe)
    if len(starts) == 0 or starts[0] != 0:
        return PacketPlan(np.ones(len(times), bool), wanted)
    ends = np.append(starts[1:], len(times))
    decode = np.zeros(len(times), bool)
    needed_by_next = False
    for start, end in zip(starts[::-1], ends[::-1], strict=True):
        inside = np.flatnonzero(wanted[start:end])
        if needed_by_next:
            decode[start:end] = True
        elif len(inside):
            decode[start : start + inside[-1] + 1] = True
        leading = bool((times[start:end] < times[start]).any())
        needed_by_next = leading and bool(decode[start:end].any())
    return PacketPlan(decode, wanted)
