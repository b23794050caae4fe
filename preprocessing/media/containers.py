"""Opens media files of known formats; never opens other files that a file refers to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from affectstream.core import storage_paths

# At any other level PyAV takes the GIL for each line that FFmpeg logs. A decoder thread that logs
# while the decoder is being closed then deadlocks.
av.logging.set_level(None)

# Accepted formats: containers with their own audio and video, and raw codecs. Playlists (HLS, DASH,
# concat), session descriptions and devices would make the library open other files or hosts. Names
# of libavformat's demuxers (`ffmpeg -demuxers`); one of a demuxer's names is enough.
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
    # For image2: a name with `%d` is one file, not a pattern for several.
    "pattern_type": "none",
}


def open_container(path: Path) -> Any:
    """Opens a file of one of `FORMATS` for reading; opens no other file for it.

    A file in an object store is read as a stream.

    Raises:
      av.error.FFmpegError, OSError: from the library; ArgumentError for any other format.
    """
    # The prefix prevents a name like `concat:a|b` or `http://...` from being interpreted.
    file: Any = storage_paths.open_binary(path) if storage_paths.is_remote(path) else f"file:{path}"
    return av.open(file, container_options=_CONTAINER_OPTIONS, metadata_errors="replace")
