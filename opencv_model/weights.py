"""Weights of detectors and blendshapes: file names, search folders, URLs and checksums."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from affectstream.core import http_fetch, lfs_pointer
from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.checksum import Checksum
from affectstream.core.errors import UserError, from_os_error

CACHE_VARIABLE = "AFFECTSTREAM_CACHE"

_log = logging.getLogger("affectstream")


@dataclass(frozen=True)
class WeightFile:
    """A published weight file.

    Attributes:
      name: file name, in the cache and in a weights folder.
      url: the publisher's own URL, pinned to one version.
      checksum: stated by the publisher.
      has_variants: whether the publisher has other valid files of this name; then a file from the
        user's folder is not checked, only a fetched one.
    """

    name: str
    url: str
    checksum: Checksum
    has_variants: bool = False


@dataclass(frozen=True)
class WeightSet:
    """One set of files that a detector can open.

    Attributes:
      patterns: accepted names of each file, in the detector's order.
      download_names: names in `WEIGHT_FILES` to fetch if the set is missing; empty for a set that
        only users provide.
    """

    patterns: tuple[tuple[str, ...], ...]
    download_names: tuple[str, ...] = ()


# === Files ===

_SAMPLES = "opencv/opencv, samples/dnn/face_detector"
_META4 = f"{_SAMPLES}/weights.meta4"
_ZOO = "opencv/opencv_zoo, models/face_detection_yunet: Git LFS object id of the file"
_ZOO_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/{}/models/face_detection_yunet/{}"
)
_GRAPH_COMMIT = "ab129cfb80ea437e194c702f4b39fd67153ee15c"
_THIRD_PARTY = "https://raw.githubusercontent.com/opencv/opencv_3rdparty"

WEIGHT_FILES: dict[str, WeightFile] = {
    file.name: file
    for file in (
        WeightFile(
            "face_detection_yunet_2026may.onnx",
            _ZOO_URL.format(
                "26cc381e4d2594bb9f47a26eb8fd96c94a13660d", "face_detection_yunet_2026may.onnx"
            ),
            Checksum(
                "sha256", "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0", _ZOO
            ),
        ),
        WeightFile(
            "face_detection_yunet_2023mar.onnx",
            _ZOO_URL.format(
                "82b38c8f98e7b52aa171400f3e4c722352d0669f", "face_detection_yunet_2023mar.onnx"
            ),
            Checksum(
                "sha256", "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4", _ZOO
            ),
        ),
        WeightFile(
            "blaze_face_short_range.tflite",
            "https://storage.googleapis.com/mediapipe-models/face_detector/blaze_face_short_range/float16/1/blaze_face_short_range.tflite",
            Checksum(
                "md5",
                "a3dd6ec31725290770b97cec0cbf94c9",
                "Google Cloud Storage, ETag and x-goog-hash of the object",
            ),
        ),
        WeightFile(
            "face_landmarker.task",
            "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
            Checksum(
                "md5",
                "b0e7274907a1644404fef66b28dd6d85",
                "Google Cloud Storage, ETag and x-goog-hash of the object",
            ),
        ),
        WeightFile(
            "opencv_face_detector_uint8.pb",
            f"{_THIRD_PARTY}/dnn_samples_face_detector_20180220_uint8/opencv_face_detector_uint8.pb",
            Checksum("sha1", "4f2fdf6f231d759d7bbdb94353c5a68690f3d2ae", _META4),
        ),
        WeightFile(
            "opencv_face_detector.pbtxt",
            f"https://raw.githubusercontent.com/opencv/opencv/{_GRAPH_COMMIT}/samples/dnn/face_detector/opencv_face_detector.pbtxt",
            Checksum(
                "git-blob",
                "5f498aad507561db86cfb6b58e849f696005c8bd",
                f"{_SAMPLES}/opencv_face_detector.pbtxt at commit {_GRAPH_COMMIT}",
            ),
            has_variants=True,
        ),
        WeightFile(
            "res10_300x300_ssd_iter_140000_fp16.caffemodel",
            f"{_THIRD_PARTY}/dnn_samples_face_detector_20180205_fp16/res10_300x300_ssd_iter_140000_fp16.caffemodel",
            Checksum("sha1", "31fc22bfdd907567a04bb45b7cfad29966caddc1", _META4),
        ),
        WeightFile(
            "res10_300x300_ssd_iter_140000.caffemodel",
            f"{_THIRD_PARTY}/dnn_samples_face_detector_20170830/res10_300x300_ssd_iter_140000.caffemodel",
            Checksum(
                "sha1",
                "15aa726b4d46d9f023526d85537db81cbc8dd566",
                "opencv/opencv_extra, testdata/dnn/download_models.py",
            ),
        ),
    )
}

WEIGHT_SETS: dict[str, tuple[WeightSet, ...]] = {
    "yunet": (
        WeightSet((("face_detection_yunet_*.onnx",),), ("face_detection_yunet_2026may.onnx",)),
    ),
    "blazeface": (WeightSet((("blaze_face_*.tflite",),), ("blaze_face_short_range.tflite",)),),
    "blendshapes": (WeightSet((("face_landmarker*.task",),), ("face_landmarker.task",)),),
    "resnet_ssd": (
        WeightSet(
            (("opencv_face_detector*.pb",), ("opencv_face_detector*.pbtxt",)),
            ("opencv_face_detector_uint8.pb", "opencv_face_detector.pbtxt"),
        ),
        WeightSet(
            (
                ("res10_300x300_ssd*.caffemodel", "opencv_face_detector*.caffemodel"),
                ("deploy.prototxt", "opencv_face_detector*.prototxt"),
            )
        ),
    ),
}


# === Finding ===


def cache_folder() -> Path:
    """Folder of fetched weights: `AFFECTSTREAM_CACHE`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("affectstream"))


def find_local_weights(
    detector: str, weights_dir: str | os.PathLike[str] | None = None
) -> tuple[Path, ...] | None:
    """Files of a detector that are on this machine, checked; opens no connection.

    Args:
      detector: "yunet", "blazeface", "resnet_ssd", or "blendshapes" (not a detector).
      weights_dir: folder of the user, searched before the cache.
    Returns:
      The files in the detector's order, or None if no set is complete.
    Raises:
      UserError: the folder is absent, or a file has a wrong checksum.
    """
    user_folder = Path(weights_dir) if weights_dir is not None else None
    if user_folder is not None and not user_folder.is_dir():
        raise UserError(f"{user_folder}: no such folder; give --weights-dir a folder that exists")
    for form in WEIGHT_SETS[detector]:
        found = [_first(patterns, user_folder) for patterns in form.patterns]
        if all(found):
            paths = tuple(path for path in found if path is not None)
            for path in paths:
                _check(path, is_given=user_folder is not None and path.parent == user_folder)
            return paths
    return None


def find_weights(
    detector: str,
    weights_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    base_url: str | None = None,
) -> tuple[Path, ...]:
    """Files of a detector: from the user's folder or the cache, else fetched into the cache.

    Args:
      detector, weights_dir: as in `find_local_weights`.
      download: whether to fetch missing files.
      base_url: a mirror that holds the files under their own names.
    Returns:
      The files in the detector's order.
    Raises:
      UserError: missing without download, not reachable, disconnected, or a wrong checksum.
    """
    paths = find_local_weights(detector, weights_dir)
    if paths is not None:
        return paths
    names = WEIGHT_SETS[detector][0].download_names
    if not download:
        looked = [str(weights_dir)] if weights_dir is not None else []
        raise UserError(
            f"no weights of {detector} in {' or '.join([*looked, str(cache_folder())])}; "
            f"put {' and '.join(names)} there (from"
            f" {' and '.join(WEIGHT_FILES[n].url for n in names)})"
        )
    fetched = []
    for name in names:
        file = WEIGHT_FILES[name]
        url = f"{base_url.rstrip('/')}/{name}" if base_url else file.url
        path = cache_folder() / name
        if not path.is_file():
            fetch(url, path, file.checksum)
        _check(path, is_given=False)
        fetched.append(path)
    return tuple(fetched)


def fetch(
    url: str, path: Path, checksum: Checksum, timeout_s: float = http_fetch.TIMEOUT_S
) -> None:
    """Fetches weights to `path` in one attempt; a failure leaves nothing behind.

    Raises:
      UserError: no network, not found, disconnected, wrong checksum, or an unwritable folder.
    """
    _log.info("fetching %s to %s", url, path)
    remote = http_fetch.RemoteFile(url, checksum=checksum)
    try:
        http_fetch.fetch(remote, path, once=True, timeout_s=timeout_s)
    except http_fetch.TransferError as error:
        raise http_fetch.TransferError(
            f"{error}, or download it by hand and give its folder as --weights-dir"
        ) from error


def _first(patterns: Sequence[str], weights_dir: Path | None) -> Path | None:
    """The first matching file, known names first; the user's folder before the cache."""
    for folder in (weights_dir, cache_folder()):
        if folder is None:
            continue
        fitting = {
            path
            for pattern in patterns
            for path in folder.glob(pattern)
            if path.is_file() and TEMPORARY_MARK not in path.name
        }
        order = list(WEIGHT_FILES)
        known = sorted(
            (path for path in fitting if path.name in WEIGHT_FILES),
            key=lambda p: order.index(p.name),
        )
        if fitting:
            return known[0] if known else min(fitting)
    return None


def _check(path: Path, is_given: bool) -> None:
    file = WEIGHT_FILES.get(path.name)
    is_pointer = lfs_pointer.is_pointer_file(path)
    if file is None or (is_given and file.has_variants):
        if is_pointer:
            raise UserError(f"{path}: {lfs_pointer.POINTER_MESSAGE}")
        return
    try:
        value = file.checksum.of(path)
    except OSError as error:
        raise from_os_error(error, path) from error
    if value != file.checksum.value:
        remedy = f"replace it with {file.url}" if is_given else "delete it and run again"
        remedy = f"{lfs_pointer.POINTER_MESSAGE}; {remedy}" if is_pointer else remedy
        raise UserError(
            f"{path}: weights with a wrong checksum ({file.checksum.kind} {value}, "
            f"expected {file.checksum.value}); {remedy}"
        )
