"""Milliseconds a frame and faces found of every detector, on stills and on clips at 720p."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks import inputs, report
from benchmarks.preprocess_speed import one_core
from benchmarks.s2_way import MIN_NEIGHBORS, SCALE_FACTOR, full_size_cascade
from opencv_model.detector import FaceDetector

FRAMES_A_CLIP = 8
FULL_HAAR = "haar as S2, full size"

Detect = Callable[[np.ndarray], int]


def stills(is_quick: bool, clips: Sequence[Path]) -> tuple[list[np.ndarray], str]:
    """(720, 1280, 3) uint8 RGB pictures with one face each, and what they are."""
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


def detectors(weights_dir: Path | None) -> dict[str, Detect]:
    """Each counts the faces of a picture."""

    def counting(detector: FaceDetector) -> Detect:
        return lambda picture: len(detector.detect(picture))

    found = {name: counting(one) for name, one in report.detectors_present(weights_dir).items()}
    cascade = full_size_cascade()

    def full_size(picture: np.ndarray) -> int:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return len(cascade.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS))

    return {**found, FULL_HAAR: full_size}


def measure(detect: Detect, frames: Sequence[np.ndarray]) -> tuple[float, int, int]:
    """Median seconds a frame, frames with a face, faces in all."""
    detect(frames[0])
    times, counts = [], []
    for picture in frames:
        began_s = time.perf_counter()
        counts.append(detect(picture))
        times.append(time.perf_counter() - began_s)
    return report.median(times), sum(map(bool, counts)), sum(counts)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    chosen = report.parser(__doc__).parse_args(words)
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        paths = [clip.path for clip in clips]
        still, what = stills(chosen.quick, paths)
        moving = [picture for path in paths for picture in pictures(path, FRAMES_A_CLIP)]
    machine = report.machine()
    rows = []
    with one_core():
        for name, detect in detectors(chosen.weights_dir).items():
            cells: list[object] = [name]
            for frames in (still, moving):
                seconds, found, faces = measure(detect, frames)
                cells += [f"{seconds * 1000:.1f}", f"{found} / {len(frames)}", faces]
            rows.append(cells)
    of_each = ("ms/frame", "with a face", "faces")
    columns = ["detector", *(f"{kind}: {c}" for kind in ("stills", "clips") for c in of_each)]
    note = (
        f"{len(still)} {what}; {FRAMES_A_CLIP} frames of each of {origin}. One core, one thread;"
        " reduction of the picture included; median."
    )
    parts = [note, report.table(columns, rows)]
    report.publish("Face detectors", "face_detectors", words, machine, parts, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
