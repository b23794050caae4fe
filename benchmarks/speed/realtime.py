"""`predict` on 4 s clips at 720p with the model loaded: seconds of work a second of recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.opencv_model.detectors.detector import FaceDetector
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.serving.inference.recognizer import Forward, Recognizer
from benchmarks import inputs, report
from benchmarks.inputs import GeneratedClip

TARGET = 0.1
UNTRAINED = "untrained"


@dataclass(frozen=True)
class TimeSpent:
    """Seconds by the clock, and of CPU over all threads."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> TimeSpent:
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: TimeSpent) -> TimeSpent:
        return TimeSpent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def __add__(self, other: TimeSpent) -> TimeSpent:
        return TimeSpent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


class Stopwatch:
    """Adds up the time spent in a function."""

    def __init__(self) -> None:
        self.spent = TimeSpent(0.0, 0.0)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began = TimeSpent.now()
            try:
                return function(*args)
            finally:
                self.spent += TimeSpent.now() - began

        return timed


@dataclass(frozen=True)
class PredictTimes:
    """What all clips took: in all, within the detector, within the model."""

    whole: TimeSpent
    detect: TimeSpent
    model: TimeSpent

    @property
    def decode(self) -> TimeSpent:
        return self.whole - self.detect - self.model


# === Model ===


def load_forward(model: Path | None) -> tuple[Forward, dict[str, Any]]:
    """What a loaded run or export computes, and its config; an untrained model without one."""
    if model is None:
        return _untrained()
    from affectstream.serving.loading import load

    recognizer = load(model)
    return recognizer._forward, recognizer.config


def _untrained() -> tuple[Forward, dict[str, Any]]:
    """The networks of `two-stream-sum`, as they come out of the builders."""
    import tensorflow as tf

    from affectstream.core import registry
    from affectstream.modeling.input_spec import InputSpec
    from affectstream.modeling.models.fused_model import fused_model
    from affectstream.modeling.models.stream_model import build_stream_model
    from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO
    from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
    from affectstream.preprocessing.labels import BASIC7
    from affectstream.preprocessing.windowing import WindowSettings

    count = len(BASIC7.labels)
    audio = build_stream_model(RELU_CNN_AUDIO, count, InputSpec(sample_rate_hz=16_000)).whole
    video = build_stream_model(
        ELU_CNN_VIDEO, count, InputSpec(face_size_px=112, face_channels=1)
    ).whole
    streams = {"audio": audio, "video": video}
    dims = {name: int(m.output["embedding"].shape[-1]) for name, m in streams.items()}
    fusion = registry.load("fusions", "sum")(tuple(streams), count, dims)
    model = fused_model(streams, fusion, with_single_streams=True)
    call = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)

    def forward(batch: dict[str, Any]) -> dict[str, Any]:
        logits = call({name: tf.constant(value) for name, value in batch.items()})
        made = {f"{s}_probabilities": tf.nn.softmax(logits[f"{s}_alone_logits"]) for s in streams}
        made["probabilities"] = tf.nn.softmax(logits["logits"])
        return {name: value.numpy() for name, value in made.items()}

    config = {
        "streams": list(streams),
        "labels": list(BASIC7.labels),
        "input": {"sample_rate_hz": 16_000, "face_size_px": 112, "face_channels": 1},
        "preparation": inputs.default_settings("haar").as_json(),
        "windows": WindowSettings.for_window(3.0).as_json(),
        "synthetic": False,
        "leak_allowed": False,
    }
    return forward, config


# === Measuring ===


def measure(
    forward: Forward,
    config: dict[str, Any],
    detector: FaceDetector,
    weights_dir: Path | None,
    clips: Sequence[GeneratedClip],
    num_rounds: int,
) -> PredictTimes:
    """The round of median length over all clips."""
    preparation = {**config["preparation"], "detector": detector.name}
    model = Stopwatch()
    recognizer = Recognizer(
        model.around(forward), {**config, "preparation": preparation}, weights_dir
    )
    faces = Stopwatch()
    finder: Any = recognizer._finder
    if finder is not None:
        finder._detector.detect_reduced = faces.around(finder._detector.detect_reduced)
    for clip in clips:
        recognizer(clip.path)
    rounds = []
    for _ in range(num_rounds):
        model.spent = faces.spent = TimeSpent(0.0, 0.0)
        began = TimeSpent.now()
        for clip in clips:
            recognizer(clip.path)
        rounds.append(PredictTimes(TimeSpent.now() - began, faces.spent, model.spent))
    return sorted(rounds, key=lambda one: one.whole.wall_s)[len(rounds) // 2]


def realtime_table(
    rows: Sequence[tuple[str, PredictTimes]], duration_s: float, num_clips: int
) -> str:
    columns = ["detector", "real-time factor", "by CPU time", "ms/clip", "CPU ms/clip"]
    columns += ["decode", "detect", "model", "target"]
    cells = []
    for name, one in rows:
        factor = one.whole.wall_s / duration_s
        spent = [one.whole.wall_s, one.whole.cpu_s]
        spent += [part.cpu_s for part in (one.decode, one.detect, one.model)]
        shown = [f"{seconds / num_clips * 1000:.0f}" for seconds in spent]
        by_cpu = f"{one.whole.cpu_s / duration_s:.3f}"
        cells.append((name, f"{factor:.3f}", by_cpu, *shown, report.verdict(factor < TARGET)))
    return report.table(columns, cells)


# === Command line ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument(
        "--model", type=Path, help="run or export; untrained two-stream-sum without it"
    )
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    rounds = 1 if chosen.quick else chosen.rounds
    forward, config = load_forward(chosen.model)
    with report.work_folder(chosen.work) as work:
        clips, origin = inputs.clips(work, chosen.quick)
        clips = [one for one in clips if _has_both(one)]
        machine = report.machine()
        rows = [
            (name, measure(forward, config, detector, chosen.weights_dir, clips, rounds))
            for name, detector in report.detectors_present(chosen.weights_dir).items()
        ]
        duration_s = sum(_duration_s(one) for one in clips)
    whose = UNTRAINED if chosen.model is None else "trained"
    parts = [
        f"{origin}. Model: {'+'.join(config['streams'])}, {whose}, loaded and warm, windows as"
        f" `predict` cuts them; median of {rounds} rounds. The last three columns split the CPU"
        " time over all threads; `decode` is all that is neither detector nor model. On cores that"
        " nothing else uses, the real-time factor is at most the one by CPU time. Target: below"
        f" {TARGET:g}.",
        realtime_table(rows, duration_s, len(clips)),
    ]
    report.publish("Answering in real time", "realtime", words, machine, parts, chosen)
    return 0


def _has_both(one: GeneratedClip) -> bool:
    with MediaFile(one.path) as media:
        return media.info.has_audio and media.info.has_video


def _duration_s(one: GeneratedClip) -> float:
    with MediaFile(one.path) as media:
        return media.info.duration_s


if __name__ == "__main__":
    raise SystemExit(main())
