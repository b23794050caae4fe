"""What an hour of media costs by stage: CPU seconds, and bytes read and written.

Each stage is taken alone, on one core and one thread, and the CPU time of the process is counted,
so that a busy machine changes the figures little. `decoding` is everything that FFmpeg does for
the wanted frames and the sound; frames between, which nothing refers to, are not decoded.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from affectstream.core import atomic_io
from affectstream.opencv_model.detectors.detector import FaceDetector
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.corpora.manifest import MANIFEST
from affectstream.preprocessing.faces.face_finder import FaceFinder
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.records.clip_checks import segment_bounds
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.records.shard_index import ShardIndex
from affectstream.preprocessing.records.shard_job import ShardJob, write_shard
from benchmarks import inputs, report
from benchmarks.inputs import ClipFormat
from benchmarks.speed import copied_corpus, costs
from benchmarks.speed.copied_corpus import Corpus

LONG = ClipFormat(1280, 720, 30, 4.0)
LONG_S, QUICK_LONG_S = 60.0, 4.0
SOUND, DECODING, FACES = "sound", "decoding", "faces"
WHOLE, VERIFYING, LISTING = "preprocess, whole", "reading shards again", "listing"


@dataclass
class Cost:
    """CPU seconds of the stages of one kind of recordings, and bytes.

    Attributes:
      hours: of media.
      cpu_s: stage -> seconds, of all recordings together.
    """

    name: str
    told: str
    hours: float
    num_clips: int
    cpu_s: dict[str, float] = field(default_factory=dict)
    read_bytes: int = 0
    written_bytes: int = 0
    num_records: int = 0

    def per_hour(self, stage: str) -> float:
        return self.cpu_s[stage] / self.hours


def cpu_of(work: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    """The least CPU seconds of some calls, and what the last gave."""
    least = float("inf")
    for _ in range(times):
        began_s = time.process_time()
        result = work()
        least = min(least, time.process_time() - began_s)
    return least, result


def decoded(file: Path, sampling: FrameSampling | None, look: Callable[[Any], Any]) -> None:
    """Reads a recording as `preprocess` does, and keeps nothing."""
    settings = inputs.default_settings("haar")
    clip = Clip(file, file.name, corpus="benchmark", label="neutral", speaker="", recording="")
    with MediaFile(file) as media:
        bounds = segment_bounds(clip, media.info.duration_s, settings.max_clip_s)
        wanted = sampling if media.info.has_video else None
        for _ in media.segments(bounds, settings.sample_rate_hz, wanted, look):
            pass


def measure(
    kind: tuple[str, Corpus],
    detectors: dict[str, FaceDetector],
    whole_with: str,
    weights: Path | None,
    work: Path,
    times: int,
) -> Cost:
    """All stages over the recordings of one kind."""
    name, one = kind
    made = Cost(name, one.told, one.hours, len(one.files), read_bytes=one.num_bytes)
    sampling = inputs.default_settings(whole_with).sampling
    every = list(dict.fromkeys(one.files))
    share = len(one.files) / len(every)

    def all_of(wanted: FrameSampling | None, look: Callable[[Any], Any]) -> Callable[[], None]:
        def work_through() -> None:
            for file in every:
                decoded(file, wanted, look)

        return work_through

    made.cpu_s[SOUND] = cpu_of(all_of(None, lambda _: None), times)[0] * share
    both_s = cpu_of(all_of(sampling, lambda _: None), times)[0] * share
    made.cpu_s[DECODING] = max(both_s - made.cpu_s[SOUND], 0.0)
    for detector, opened in detectors.items():
        finder = FaceFinder(opened, CropFormat(112, "grey"))
        with_faces_s = cpu_of(all_of(sampling, finder.detect_frame), times)[0] * share
        made.cpu_s[f"{FACES}, {detector}"] = max(with_faces_s - both_s, 0.0)
    _whole(made, one, whole_with, weights, work / name, times)
    return made


def _whole(
    made: Cost, one: Corpus, detector: str, weights: Path | None, work: Path, times: int
) -> None:
    table = copied_corpus.manifest(one, work, 1)
    made.cpu_s[LISTING], corpus_index = cpu_of(lambda: MANIFEST.build_index(table), times)
    settings = RecordSettings(detector)
    shards = work / "shards"
    shards.mkdir(exist_ok=True)
    piece = ShardJob(shards, 0, corpus_index.clips, settings, weights, "stage-cost")
    made.cpu_s[WHOLE], shard = cpu_of(lambda: write_shard(piece, lambda _: None), times + 1)
    file = shards / shard.name
    made.cpu_s[VERIFYING] = cpu_of(lambda: atomic_io.file_sha256(file), times)[0]
    made.written_bytes = file.stat().st_size + file.with_suffix(".json").stat().st_size
    made.num_records = len(shard.rows)


def driver_bytes(work: Path) -> float:
    """What the program keeps in memory of a record: its row, and the state of its input."""
    index = next(work.rglob("shards/*.json"))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [shard for _ in range(20) if (shard := ShardIndex.read(index)) is not None]
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / sum(len(shard.rows) for shard in kept)


# === Table ===


def stage_table(found: Sequence[Cost]) -> str:
    stages = list(found[0].cpu_s)
    rows: list[list[object]] = [
        [stage, *(f"{one.per_hour(stage):.3g}" for one in found)] for stage in stages
    ]
    rows.append(["MB read", *(f"{one.read_bytes / one.hours / 1e6:.0f}" for one in found)])
    rows.append(["MB written", *(f"{one.written_bytes / one.hours / 1e6:.0f}" for one in found)])
    rows.append(["records", *(f"{one.num_records / one.hours:.0f}" for one in found)])
    return report.table(("an hour of media", *(one.name for one in found)), rows)


def as_json(found: Sequence[Cost], detector: str, a_record: float) -> dict[str, Any]:
    kinds = {
        one.name: {
            "told": one.told,
            "cpu_s_an_hour": {s: costs.rounded(one.per_hour(s)) for s in one.cpu_s},
            "read_bytes_an_hour": costs.rounded(one.read_bytes / one.hours),
            "written_bytes_an_hour": costs.rounded(one.written_bytes / one.hours),
            "records_an_hour": costs.rounded(one.num_records / one.hours),
            "clips": one.num_clips,
            "hours": costs.rounded(one.hours),
        }
        for one in found
    }
    return {"detector": detector, "driver_bytes_a_record": costs.rounded(a_record), "kinds": kinds}


def kinds_of(work: Path, is_quick: bool) -> list[tuple[str, Corpus]]:
    """Short videos, sounds alone, and one long video."""
    one = copied_corpus.corpus(work, is_quick)
    videos = tuple(f for f in one.files if f.suffix != copied_corpus.SOUND_SUFFIX)
    sounds = tuple(f for f in one.files if f.suffix == copied_corpus.SOUND_SUFFIX)
    source = inputs.clips(work, is_quick)[0][0]
    shape = inputs.QUICK if is_quick else LONG
    seconds = QUICK_LONG_S if is_quick else LONG_S
    long = inputs.long_video(source, work, shape, seconds)
    made = [("short videos", videos), ("sounds", sounds), ("long video", (long,))]
    found = []
    for name, files in made:
        if files:
            length_s = sum(copied_corpus.duration_s(file) for file in files)
            told = f"{len(files)} files, {length_s:.0f} s"
            found.append((name, Corpus(files, length_s / 3600, told)))
    return found


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="stage-cost")
    parser.add_argument("--detector", default="haar", help="of the whole [default: %(default)s]")
    parser.add_argument("--times", type=int, default=3, help="the least of so many counts")
    costs.add_option(parser)
    chosen = parser.parse_args(words)
    cv2.setNumThreads(1)
    machine = report.machine()
    with report.work_folder(chosen.work) as work, report.user_errors():
        kinds = kinds_of(work, chosen.quick)
        detectors = report.detectors_present(chosen.weights_dir)
        times = 1 if chosen.quick else chosen.times
        found = [
            measure(kind, detectors, chosen.detector, chosen.weights_dir, work, times)
            for kind in kinds
        ]
        a_record = driver_bytes(work)
    given = "; ".join(f"{one.name}: {one.told}" for one in found)
    remark = (
        f"CPU seconds an hour of media, the least of {times} counts; {given}. Of short videos 16"
        " frames each are looked at, of the long one 16 every ten seconds. Sound: opening, finding"
        " the packets, decoding and resampling. Faces: also cutting out. The whole, with"
        f" {chosen.detector}: all of these, hashing and writing. The program keeps {a_record:,.0f}"
        " bytes of a record."
    )
    costs.write(chosen.costs, "stages", machine, as_json(found, chosen.detector, a_record))
    title = "Cost of an hour of media, by stage"
    parts = [remark, stage_table(found)]
    report.publish(title, "stage_cost", words, machine, parts, *report.destination(chosen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
