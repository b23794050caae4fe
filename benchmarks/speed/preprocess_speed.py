"""Preprocessing of 720p clips, ours beside the OpenCV baseline, in one run and on one core.

Both run in turn over the same clips, in alternating order, for some rounds; a figure is the median
over the rounds. The process is pinned to one core, so that no library can use two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from benchmarks import inputs, report
from benchmarks.inputs import GeneratedClip
from benchmarks.speed.opencv_baseline import OpencvBaseline, decode_alone

BASELINE = "OpenCV baseline"
MIN_IOU = 0.5
TARGET_FASTEST, TARGET_HAAR = 10.0, 8.0
SAMPLINGS = {"16 in time": FrameSampling(), "every third": FrameSampling("every-third")}

Boxes = list[FaceBox | None]


@dataclass
class Method:
    """One way of preparing a clip, and its measurements.

    Attributes:
      prepare: gives the box of each frame looked at; None for decoding alone.
      wall_s, cpu_s: sums over all clips, one a round.
      boxes: of each clip, from the first round.
    """

    name: str
    frames: str
    prepare: Callable[[GeneratedClip], Boxes | None]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def run(self, clips: Sequence[GeneratedClip]) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        seen = [self.prepare(clip) for clip in clips]
        self.wall_s.append(time.perf_counter() - wall_s)
        self.cpu_s.append(time.process_time() - cpu_s)
        if not self.boxes:
            self.boxes = [boxes for boxes in seen if boxes is not None]


# === The ways ===


def methods(weights_dir: Path | None) -> list[Method]:
    """The baseline, ours by detector and sampling, and decoding alone."""
    opencv_baseline = OpencvBaseline()
    made = [
        Method(BASELINE, "every third", lambda clip: opencv_baseline(clip.path, clip.wav).boxes)
    ]
    for detector in report.detectors_present(weights_dir):
        for frames, sampling in SAMPLINGS.items():
            settings = dataclasses.replace(inputs.default_settings(detector), sampling=sampling)
            made.append(Method(f"ours, {detector}", frames, _ours(settings, weights_dir)))
    for frames, sampling in SAMPLINGS.items():
        made.append(Method("decoding alone, ours", frames, _decoding(sampling)))
    made.append(Method("decoding alone, OpenCV", "all", _opencv_decoding))
    return made


def _ours(settings: RecordSettings, weights_dir: Path | None) -> Callable[[GeneratedClip], Boxes]:
    preparer = RecordBuilder(settings, weights_dir)

    def prepare(clip: GeneratedClip) -> Boxes:
        boxes: Boxes = []
        for record in preparer.records(clip.clip):
            found = [FaceBox(x, y, w, h, 1.0) for x, y, w, h in record.boxes_px.tolist()]
            mask = record.face_mask
            boxes += [box if there else None for box, there in zip(found, mask, strict=True)]
            boxes += [None] * (record.num_frames - len(mask))
        return boxes

    return prepare


def _decoding(sampling: FrameSampling) -> Callable[[GeneratedClip], None]:
    def prepare(clip: GeneratedClip) -> None:
        with MediaFile(clip.path) as media:
            for _ in media.segments([(0.0, media.info.duration_s)], 16_000, sampling, bool):
                pass

    return prepare


def _opencv_decoding(clip: GeneratedClip) -> None:
    decode_alone(clip.path)


# === One core ===


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Pins the process to one core and OpenCV to one thread."""
    cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {max(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)


def measure(
    clips: Sequence[GeneratedClip], num_rounds: int, weights_dir: Path | None
) -> list[Method]:
    """Runs every way once to warm up, then `num_rounds` times in alternating order."""
    with one_core():
        made = methods(weights_dir)
        for method in made:
            method.prepare(clips[0])
        for number in range(num_rounds):
            for method in made if number % 2 == 0 else made[::-1]:
                method.run(clips)
    return made


# === Tables ===


def speed_table(made: Sequence[Method], num_clips: int) -> str:
    baseline = made[0]
    columns = (
        "way",
        "frames",
        "ms/clip",
        "CPU ms/clip",
        "times as fast as the baseline",
        "by CPU time",
        "faces / frames looked at",
        "IoU > 0.5 with the baseline",
    )
    rows = []
    for method in made:
        looked = [box for boxes in method.boxes for box in boxes]
        found = sum(box is not None for box in looked)
        rows.append(
            (
                method.name,
                method.frames,
                f"{report.median(method.wall_s) / num_clips * 1000:.0f}",
                f"{report.median(method.cpu_s) / num_clips * 1000:.0f}",
                f"{ratio(baseline.wall_s, method.wall_s):.1f}",
                f"{ratio(baseline.cpu_s, method.cpu_s):.1f}",
                f"{found} / {len(looked)}" if looked else "",
                agreement(baseline, method) if looked and method.frames == baseline.frames else "",
            )
        )
    return report.table(columns, rows)


def ratio(baseline: Sequence[float], ours: Sequence[float]) -> float:
    """Median over the rounds of how many times as fast as the baseline."""
    return report.median([a / b for a, b in zip(baseline, ours, strict=True)])


def agreement(baseline: Method, ours: Method) -> str:
    """Frames where the boxes overlap by more than half, of those where both find a face."""
    agreed = both = 0
    for theirs, own in zip(baseline.boxes, ours.boxes, strict=True):
        for a, b in zip(theirs, own, strict=True):
            if a is not None and b is not None:
                both += 1
                agreed += a.iou(b) > MIN_IOU
    return f"{agreed} of {both}"


def verdicts(made: Sequence[Method]) -> str:
    """The targets, by wall time with the default sampling."""
    default = next(iter(SAMPLINGS))
    ours = {
        m.name.removeprefix("ours, "): ratio(made[0].wall_s, m.wall_s)
        for m in made
        if m.name.startswith("ours, ") and m.frames == default
    }
    fastest = max(ours, key=lambda name: ours[name])
    lines = [
        f"- Target {TARGET_FASTEST:g}x with the fastest detector: {fastest} {ours[fastest]:.1f}x,"
        f" {report.verdict(ours[fastest] >= TARGET_FASTEST)}."
    ]
    if "haar" in ours:
        is_met = ours["haar"] >= TARGET_HAAR
        lines.append(
            f"- Target {TARGET_HAAR:g}x with haar: {ours['haar']:.1f}x, {report.verdict(is_met)}."
        )
    return "\n".join(lines)


# === Command line ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args(words)
    rounds = 1 if chosen.quick else chosen.rounds
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        machine = report.machine()
        made = measure(clips, rounds, chosen.weights_dir)
    parts = [
        f"{origin}. One core, one thread; median of {rounds} rounds.",
        speed_table(made, len(clips)),
        verdicts(made),
    ]
    title = "Preprocessing, beside the OpenCV baseline"
    report.publish(title, "preprocess_speed", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
