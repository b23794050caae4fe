"""Chooses and opens a face detector."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from affectstream.core import registry
from affectstream.opencv_model.detectors.detector import DETECT_SIDE_PX, FaceDetector
from affectstream.opencv_model.weights import find_local_weights, find_weights

AUTO = "auto"

AUTO_ORDER = ("yunet", "blazeface", "resnet_ssd", "haar")
"""Best first, as measured on 20 stills and 5 clips, one thread, 1280x720 in.

All four find all 20 stills and the large faces of the clips. YuNet and the SSD still find faces
of 1/20 of the picture; BlazeFace loses them below 1/7, Haar below 1/10. In structured noise the
SSD sees 8 faces of 150, Haar 4, the others none. A frame takes YuNet 4 ms of a core, BlazeFace 2,
Haar 13, the SSD 44. BlazeFace needs MediaPipe, which reports its use to Google (see
`affectstream.opencv_model.detectors.blazeface`).
"""


@dataclass(frozen=True)
class DetectorChoice:
    """Result of `auto`: the name of the detector and one line with the reason."""

    name: str
    reason: str


def resolve_auto(weights_dir: str | os.PathLike[str] | None = None) -> DetectorChoice:
    """The best detector whose files are on this machine; opens no connection.

    Args:
      weights_dir: folder of the user, searched before the cache.
    Raises:
      UserError: the folder is absent, or a file in it or in the cache has a wrong checksum.
    """
    passed_over = []
    for name in AUTO_ORDER:
        if name == "blazeface" and importlib.util.find_spec("mediapipe") is None:
            passed_over.append(f"{name} (MediaPipe is not installed)")
            continue
        if not registry.load("detectors", name).needs_weights:
            return DetectorChoice(name, f"no weights here of {', '.join(passed_over)}")
        paths = find_local_weights(name, weights_dir)
        if paths is not None:
            return DetectorChoice(name, f"the best of those whose weights are here: {paths[0]}")
        passed_over.append(name)
    raise LookupError(f"AUTO_ORDER ends without a detector that needs no weights: {AUTO_ORDER}")


def open_detector(
    name: str,
    weights_dir: str | os.PathLike[str] | None = None,
    max_side_px: int = DETECT_SIDE_PX,
    download: bool = True,
) -> FaceDetector:
    """Opens a detector by name; in a pool, open one in every worker process.

    Args:
      name: a detector of the registry, or "auto" for `resolve_auto`.
      weights_dir: folder of the user, searched before the cache.
      max_side_px: longer side of the searched image.
      download: whether missing weights are fetched to the cache.
    Raises:
      UserError: unknown name, weights missing, not reachable or wrong, or a library missing.
    """
    if name == AUTO:
        name = resolve_auto(weights_dir).name
    detector = registry.load("detectors", name)
    paths = find_weights(name, weights_dir, download) if detector.needs_weights else ()
    return detector(paths, max_side_px=max_side_px)
