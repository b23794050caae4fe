"""Milliseconds a frame and faces found of every detector; faces found in pictures of few pixels."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from affectstream.opencv_model.detectors.detector import FaceBox, FaceDetector, convert_colors
from benchmarks import inputs, report
from benchmarks.robustness.robustness import scaled
from benchmarks.speed.opencv_baseline import MIN_NEIGHBORS, SCALE_FACTOR, full_size_cascade
from benchmarks.speed.preprocess_speed import one_core

FRAMES_A_CLIP = 8
FULL_HAAR = "haar, full size"

Detect = Callable[[np.ndarray], Sequence[FaceBox]]
MIN_IOU = 0.5
SMALL_SIDES_PX = (160, 80, 48)


def stills(is_quick: bool, clips: Sequence[Path]) -> tuple[list[np.ndarray], str]:
    """(720, 1280, 3) uint8 RGB images with one face each, and their description."""
    data = None if is_quick else inputs.data_folder()
    if data is None:
        return [pictures(path, 1)[0] for path in clips], "first frames of the clips"
    paths = sorted((data / "ravdess_stills").rglob("*.*"))
    read = [cv2.imread(str(path)) for path in paths]
    size = (inputs.FULL.width_px, inputs.FULL.height_px)
    found = [
        cv2.cvtColor(cv2.resize(p, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_BGR2RGB)
        for p in read
        if p is not None
    ]
    return found, "stills of RAVDESS, one face each, enlarged"


def pictures(path: Path, count: int) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB frames, evenly spread over a clip."""
    with av.open(str(path)) as container:
        every = max(1, container.streams.video[0].frames // count)
        frames = itertools.islice(container.decode(video=0), 0, every * count, every)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def finders(present: Mapping[str, FaceDetector]) -> dict[str, Detect]:
    """Face finders of an image, with the OpenCV baseline beside ours."""
    found: dict[str, Detect] = {name: one.detect for name, one in present.items()}
    cascade = full_size_cascade()

    def full_size(picture: np.ndarray) -> Sequence[FaceBox]:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes = cascade.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS)
        return [FaceBox(float(x), float(y), float(w), float(h), 1.0) for x, y, w, h in boxes]

    return {**found, FULL_HAAR: full_size}


def measure(detect: Detect, frames: Sequence[np.ndarray]) -> tuple[float, list[Sequence[FaceBox]]]:
    """Median seconds a frame, and the faces of each."""
    detect(frames[0])
    times, found = [], []
    for picture in frames:
        began_s = time.perf_counter()
        found.append(detect(picture))
        times.append(time.perf_counter() - began_s)
    return report.median(times), found


def agreement(one: Sequence[Sequence[FaceBox]], other: Sequence[Sequence[FaceBox]]) -> str:
    """In how many of the frames where both find a face their largest faces are the same one."""
    pairs = [(_largest(a), _largest(b)) for a, b in zip(one, other, strict=True) if a and b]
    return f"{sum(a.iou(b) > MIN_IOU for a, b in pairs)} of {len(pairs)}"


def _largest(faces: Sequence[FaceBox]) -> FaceBox:
    return max(faces, key=lambda face: face.width * face.height)


# === Small pictures ===


def small_pictures(present: Mapping[str, FaceDetector], folder: Path) -> list[str]:
    """Number of small images in which each detector finds a face: unchanged, and enlarged."""
    paths = sorted(folder.glob("*.png"))
    read = [p[..., ::-1] for p in (cv2.imread(str(path)) for path in paths) if p is not None]
    small = [[scaled(p, px / max(p.shape[:2])) for p in read] for px in SMALL_SIDES_PX]
    rows = []
    for name, detector in present.items():
        cells: list[object] = [name]
        for of_side in small:
            plain = sum(bool(detector._find(convert_colors(p, detector.colors))) for p in of_side)
            cells += [plain, sum(bool(detector.detect(p)) for p in of_side)]
        rows.append(cells)
    note = (
        f"{len(read)} pictures of `{folder.name}`, reduced so that the longer side is as above the"
        " columns: in how many a face is found, searched as they are and, as it is done, enlarged."
    )
    columns = [f"{px} px{how}" for px in SMALL_SIDES_PX for how in ("", ", enlarged")]
    return [note, report.table(["detector", *columns], rows)]


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    options = report.parser(__doc__)
    options.add_argument(
        "--pictures", type=Path, help="also faces of few pixels: these PNG files, reduced"
    )
    chosen = options.parse_args(words)
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        paths = [clip.path for clip in clips]
        still, what = stills(chosen.quick, paths)
        moving = [picture for path in paths for picture in pictures(path, FRAMES_A_CLIP)]
    machine = report.machine()
    rows = []
    boxes: dict[str, list[Sequence[FaceBox]]] = {}
    present = report.detectors_present(chosen.weights_dir)
    with one_core():
        for name, detect in finders(present).items():
            cells: list[object] = [name]
            boxes[name] = []
            for frames in (still, moving):
                seconds, found = measure(detect, frames)
                with_face, faces = sum(map(bool, found)), sum(map(len, found))
                cells += [f"{seconds * 1000:.1f}", f"{with_face} / {len(frames)}", faces]
                boxes[name] += found
            rows.append(cells)
    pairs = [(a, *(agreement(boxes[a], boxes[b]) for b in boxes)) for a in boxes]
    of_each = ("ms/frame", "with a face", "faces")
    columns = ["detector", *(f"{kind}: {c}" for kind in ("stills", "clips") for c in of_each)]
    note = (
        f"{len(still)} {what}; {FRAMES_A_CLIP} frames of each of {origin}. One core, one thread;"
        " reduction of the picture included; median."
    )
    same = (
        f"The largest face of both overlaps by IoU > {MIN_IOU:g}, of the stills and frames in which"
        " both find one:"
    )
    parts = [note, report.table(columns, rows), same, report.table(("", *boxes), pairs)]
    if chosen.pictures is not None:
        parts += small_pictures(present, chosen.pictures)
    report.publish("Face detectors", "face_detectors", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
