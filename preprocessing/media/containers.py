"""Opens media files of known formats; never opens other files that a file refers to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from affectstream.core import storage_paths

# At any other level PyAV takes the GIL for each line that FFmpeg logs. A decoder thread that logs
# while the decoder is being closed then deadlocks.
av.logging.set_level(None)

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


def open_container(path: Path) -> Any:
    """Opens a file of one of `FORMATS` for reading; no other file is opened on its behalf.

    Of an object store, it is read as a stream.

    Raises:
      av.error.FFmpegError, OSError: as the library does; ArgumentError for any other format.
    """
    # The prefix keeps a name like `concat:a|b` or `http://...` from being more than a name.
    file: Any = storage_paths.open_binary(path) if storage_paths.is_remote(path) else f"file:{path}"
    return av.open(file, container_options=_CONTAINER_OPTIONS, metadata_errors="replace")
