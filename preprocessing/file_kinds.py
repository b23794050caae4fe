"""The list of file suffixes that can be read, grouped by media type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

AUDIO, VIDEO, IMAGE, TEXT = "audio", "video", "image", "text"


def _endings(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


LOSSLESS_SUFFIXES = _endings(
    "wav wave w64 rf64 flac aif aiff aifc au snd caf voc nist sph wv ape tta"
)
LOSSY_SUFFIXES = _endings(
    "mp3 mp2 mpa mpga aac ac3 eac3 ec3 ogg oga opus spx m4a m4b m4r wma mka weba amr awb ra"
)
# A GIF may be animated; one with a single image is a video of one frame.
VIDEO_SUFFIXES = _endings(
    "mp4 m4v mov qt mkv mk3d webm avi divx flv f4v wmv asf mpg mpeg mpe m1v m2v vob ts mts m2ts m2t"
    " ogv 3gp 3g2 mxf dv rm rmvb ivf nut mjpg mjpeg h264 264 h265 265 hevc obu gif"
)
IMAGE_SUFFIXES = _endings("jpg jpeg jpe jfif png webp bmp tif tiff avif ppm pgm pbm pnm")
TEXT_SUFFIX = ".txt"

MEDIA_SUFFIXES = VIDEO_SUFFIXES | LOSSLESS_SUFFIXES | LOSSY_SUFFIXES
# In an archive or a folder of images, a GIF is one image.
STILL_IMAGE_SUFFIXES = IMAGE_SUFFIXES | {".gif"}

_KINDS = (
    dict.fromkeys(LOSSLESS_SUFFIXES | LOSSY_SUFFIXES, AUDIO)
    | dict.fromkeys(VIDEO_SUFFIXES, VIDEO)
    | dict.fromkeys(IMAGE_SUFFIXES, IMAGE)
    | {TEXT_SUFFIX: TEXT}
)


def media_type(path: PurePath) -> str:
    """Media type by suffix, in any case: "audio", "video", "image", "text" or ""."""
    return _KINDS.get(path.suffix.lower(), "")


def suffix_rank(suffix: str) -> int:
    """Rank among files of one recording; the lowest is used: video, lossless, lossy."""
    suffix = suffix.lower()
    return 0 if suffix in VIDEO_SUFFIXES else 1 if suffix in LOSSLESS_SUFFIXES else 2


def count_suffixes(paths: Iterable[PurePath]) -> Counter[str]:
    """Lower-case suffix -> number of files; "" for files without one."""
    return Counter(path.suffix.lower() for path in paths)


def format_suffix_counts(endings: Counter[str]) -> str:
    """`count_suffixes` of ignored files in one line, as "3 .docx, 1 .pdf"; "" for none."""
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {ending or 'without ending'}" for ending, count in ordered)
