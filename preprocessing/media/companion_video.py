"""Video of a clip that is in another file than its audio, such as the video of a dialogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from affectstream.core.errors import MediaError
from affectstream.preprocessing.clip import CompanionVideo
from affectstream.preprocessing.media.media_file import MediaFile, rgb
from affectstream.preprocessing.media.media_reader import MediaSegment
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling


def attach_companion_video(
    sound: Iterator[MediaSegment],
    bounds_s: Sequence[tuple[float, float]],
    companion_video: CompanionVideo,
    sampling: FrameSampling,
    on_frame: Callable[[np.ndarray], Any],
) -> Iterator[MediaSegment]:
    """Joins audio segments with the frames at the same times in the other file.

    Args:
      sound: tracks of the clip's own file, one for each of `bounds_s`.
      bounds_s: segments in the clip's own file; the first begins with the clip.
      companion_video: the other file and the segment of it that is the clip.
      on_frame: called on each sampled frame, (H, W, 3) uint8 RGB, already cropped to its half.
    Yields:
      MediaSegment with frame times in the clip's own file.
    Raises:
      MediaError: the other file cannot be read, has no video, or ends before the clip begins.
    """
    offset_s = companion_video.start_s - bounds_s[0][0]
    with MediaFile(companion_video.path, companion_video.name) as media:
        end_s = min(companion_video.end_s, media.info.duration_s)
        if not media.info.has_video or end_s <= companion_video.start_s:
            holds = f"{media.info.duration_s:.1f} s" if media.info.has_video else "no pictures"
            raise MediaError(
                f"{companion_video.name}: holds {holds}, needed from {companion_video.start_s:g} s"
                " on; copy it again"
            )
        elsewhere = [(min(a + offset_s, end_s), min(b + offset_s, end_s)) for a, b in bounds_s]

        def look_at(frame: av.VideoFrame) -> Any:
            return on_frame(crop_half(rgb(frame), companion_video.half))

        seen = media.segments(elsewhere, _LOWEST_RATE_HZ, sampling, look_at)
        for heard, shown in zip(sound, seen, strict=True):
            yield dataclasses.replace(
                heard,
                frames=shown.frames,
                frame_times_s=shown.frame_times_s - offset_s,
                lost_times_s=shown.lost_times_s - offset_s,
                completeness=dataclasses.replace(
                    heard.completeness,
                    num_frames=shown.completeness.num_frames,
                    num_wanted_frames=shown.completeness.num_wanted_frames,
                ),
            )


# The audio of the other file is not used.
_LOWEST_RATE_HZ = 8000


def crop_half(picture: np.ndarray, half: str) -> np.ndarray:
    """(H, W, 3) -> its left or right half, (H, W // 2, 3); all of it for ""."""
    middle = picture.shape[1] // 2
    if half == "left":
        return np.ascontiguousarray(picture[:, :middle])
    if half == "right":
        return np.ascontiguousarray(picture[:, picture.shape[1] - middle :])
    return picture
