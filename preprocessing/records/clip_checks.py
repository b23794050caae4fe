"""Divides clips into records and rejects invalid clips."""

from __future__ import annotations

import itertools
import math

from affectstream.core.errors import MediaError
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.media_reader import MediaInfo
from affectstream.preprocessing.pcm import missing_audio_reason

# A file this much longer than the table states is another recording. Clips of MELD overlap their
# neighbours by seconds, and some contain minutes of other material.
MAX_DURATION_RATIO, MAX_EXTRA_DURATION_S = 2.0, 5.0
# Tolerance for rounding in tables and for padding or cutting by codecs.
END_TOLERANCE_S = 0.5
_REMEDY = "copy or record it again, or give a lower --min-decoded-share"


def num_segments(length_s: float, max_clip_s: float) -> int:
    """Number of records of equal length for a segment of this length."""
    return max(1, math.ceil(length_s / max_clip_s - 1e-6))


def segment_bounds(clip: Clip, duration_s: float, max_clip_s: float) -> list[tuple[float, float]]:
    """Bounds of a clip's records: segments of equal length, each at most `max_clip_s` long.

    Raises:
      MediaError: the clip lies beyond the end of its file.
    """
    end_s = duration_s if clip.end_s is None else min(clip.end_s, duration_s)
    length_s = end_s - clip.start_s
    if duration_s <= 0:
        raise MediaError(f"{clip.name}: lasts 0 s; convert or record it again")
    if length_s <= 0:
        raise MediaError(
            f"{clip.name}: from {clip.start_s:g} to {end_s:g} s there is nothing"
            f" (the file lasts {duration_s:.1f} s); correct start_s and end_s"
        )
    count = num_segments(length_s, max_clip_s)
    edges = [clip.start_s + i * length_s / count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def require_held(clip: Clip, info: MediaInfo, min_share: float) -> None:
    """Rejects a truncated file, by the duration of its packets.

    Raises:
      MediaError: the packets cover a smaller share of the duration in the header.
    """
    if info.available_share < min_share:
        stated = f" of {info.header_duration_s:.1f} s"
        of = stated if info.has_header_duration else ", without its end"
        raise MediaError(f"{clip.name}: truncated, holds {info.duration_s:.1f} s{of}; {_REMEDY}")


def require_expected_duration(clip: Clip, duration_s: float) -> None:
    """Rejects a file that is much longer than the corpus's tables state.

    Raises:
      MediaError: more than twice as long, and more than 5 s longer.
    """
    expected_s = clip.expected_duration_s
    if expected_s is None or duration_s <= max(
        MAX_DURATION_RATIO * expected_s, expected_s + MAX_EXTRA_DURATION_S
    ):
        return
    raise MediaError(
        f"{clip.name}: lasts {duration_s:.1f} s but the table says {expected_s:.1f} s, so"
        " label and words do not apply to all of it; download the file again or leave it out"
    )


def require_end_within(clip: Clip, duration_s: float) -> None:
    """Rejects a clip that ends after its file.

    Raises:
      MediaError: by more than `END_TOLERANCE_S`.
    """
    if clip.end_s is not None and clip.end_s > duration_s + END_TOLERANCE_S:
        raise MediaError(
            f"{clip.name}: end_s {clip.end_s:g} lies {clip.end_s - duration_s:.1f} s behind the end"
            f" of the file ({duration_s:.1f} s); correct it, or leave it empty for all of the file"
        )


def require_decoded(clip: Clip, whole: Completeness, min_share: float) -> None:
    """Rejects a damaged file after reading it.

    Raises:
      MediaError: a smaller share of its audio, or of the sampled frames, could be decoded.
    """
    if whole.decoded_share < min_share:
        raise MediaError(f"{clip.name}: damaged, {', '.join(whole.loss_messages())}; {_REMEDY}")


def nothing_usable(clip: Clip, info: MediaInfo, from_table: bool) -> MediaError:
    """The error for a recording with neither audio nor a face.

    Args:
      from_table: whether action units of a table replace its video.
    """
    sound = missing_audio_reason(info.has_audio, info.duration_s)
    sound += " throughout" if sound == "silent" else ""
    has_video = info.has_video or clip.pictures is not None
    if from_table:
        sound += " and no row of action units for it"
    elif has_video or not info.has_audio:
        sound += " and no face in it"
    return MediaError(f"{clip.name}: {sound}; record it again or leave it out")
