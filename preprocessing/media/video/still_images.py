"""Still images: a file, a member of a zip, or a row of FER2013's CSV."""

from __future__ import annotations

import functools
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np

from affectstream.core import lfs_pointer, storage_paths
from affectstream.core.errors import MediaError, from_os_error
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.file_kinds import IMAGE, STILL_IMAGE_SUFFIXES, media_type
from affectstream.preprocessing.media.video.image_header import read_image_size

CSV_SIDE_PX = 48
# The header of a small file may claim a billion pixels, which would need gigabytes to decode.
MAX_PIXELS = 200_000_000


def is_still_image(clip: Clip) -> bool:
    """Whether a clip is one image instead of audio or video."""
    if clip.text_only:
        return False
    if Path(clip.inner).suffix:
        return Path(clip.inner).suffix.lower() in STILL_IMAGE_SUFFIXES
    return media_type(clip.path) == IMAGE or clip.path.suffix.lower() == ".csv"


def read_still_image(clip: Clip) -> np.ndarray:
    """The image of a clip: (H, W, 3) uint8 RGB.

    Raises:
      MediaError: absent, unreadable, too large, or not an image.
    """
    if clip.path.suffix.lower() == ".csv":
        return _read_csv_row(clip.path, int(clip.inner))
    try:
        data = _read_member(clip.path, clip.inner) if clip.inner else _read(clip.path)
    except OSError as error:
        raise MediaError(str(from_os_error(error, clip.name))) from error
    except (KeyError, zipfile.BadZipFile) as error:
        raise MediaError(f"{clip.name}!{clip.inner}: {error}; fetch the archive again") from error
    width_px, height_px = read_image_size(data) or (0, 0)
    if width_px * height_px > MAX_PIXELS:
        raise MediaError(
            f"{clip.key}: states {width_px}x{height_px} pixels, at most {MAX_PIXELS:,} in all are"
            " read; make it smaller"
        )
    if lfs_pointer.is_pointer(data):
        raise MediaError(f"{clip.key}: {lfs_pointer.POINTER_MESSAGE}")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        picture = None
    if picture is None:
        raise MediaError(f"{clip.key}: not a picture that can be read; leave it out or replace it")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _read(path: Path) -> bytes:
    with storage_paths.open_binary(path) as file:
        return file.read()


def _read_member(archive: Path, member: str) -> bytes:
    return _archive(archive).read(member)


@functools.lru_cache(maxsize=2)
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(
        storage_paths.open_binary(path) if storage_paths.is_remote(path) else path
    )


def _read_csv_row(path: Path, offset: int) -> np.ndarray:
    with storage_paths.open_binary(path) as file:
        file.seek(offset)
        line = file.readline().decode("ascii", errors="replace")
    try:
        # The column order differs between tables; the longest cell contains the pixels.
        pixels = max(re.split(r"[,;\t]", line), key=len)
        values = np.array(pixels.strip(' "\r\n').split(), np.int64)
        picture = values.reshape(CSV_SIDE_PX, CSV_SIDE_PX)
    except (ValueError, OverflowError) as error:
        raise MediaError(f"{path.name}: row at byte {offset} is not 48x48 pixels") from error
    if picture.min() < 0 or picture.max() > 255:
        raise MediaError(f"{path.name}: row at byte {offset} holds pixels outside 0-255")
    return np.repeat(picture.astype(np.uint8)[:, :, None], 3, axis=2)
