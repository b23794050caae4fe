"""Peak memory on a 30-minute video against a 1-minute one, each in a fresh process.

`decoding and faces` and `windows` are the parts of `preprocess` and `predict` that do not need
TensorFlow, whose own half gigabyte would hide what grows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import inputs, report
from benchmarks.inputs import ClipFormat

ROOT = Path(__file__).resolve().parents[2]
SHAPE = ClipFormat(640, 360, 15, 4.0)
TARGET = 1.2
LENGTHS_S = (60.0, 1800.0)
QUICK_LENGTHS_S = (3.0, 12.0)

# Each runs in a fresh process: argv[1] the video, argv[2] detector, argv[3] weights or "".
_RECORDS = """
import sys
from pathlib import Path
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
told = {"corpus": "benchmark", "label": "neutral", "speaker": "", "recording": "benchmark/1"}
clip = Clip(Path(sys.argv[1]), "video", **told)
weights = Path(sys.argv[3]) if sys.argv[3] else None
for record in RecordBuilder(RecordSettings(sys.argv[2]), weights).records(clip):
    pass
"""
_WINDOWS = """
import sys
from affectstream.opencv_model.detectors.auto_detector import open_detector
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.faces.face_finder import FaceFinder
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.serving.inference.isolated_reader import NUM_DECODING_THREADS
from affectstream.serving.inference.windows import FaceIdentities, ReadSettings, iter_windows
finder = FaceFinder(open_detector(sys.argv[2], sys.argv[3] or None), CropFormat(112, "grey"))
with MediaFile(sys.argv[1], num_threads=NUM_DECODING_THREADS) as media:
    for window in iter_windows(media, ReadSettings(sample_rate_hz=16000), finder, FaceIdentities()):
        pass
"""


# Starts argv[2:] and writes its peak into the file argv[1]. Linux counts the memory of the process
# that starts another into the peak of that other, so this one must be small.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Measured:
    """One process: the most memory it held, and its time."""

    peak_mib: float
    seconds: float


def run(words: Sequence[str]) -> Measured:
    """Runs a Python process to its end.

    Args:
      words: the command after the interpreter.
    Raises:
      RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder) / "peak_kib"
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(peak)]
        began_s = time.perf_counter()
        done = subprocess.run(
            [*launcher, sys.executable, *words], cwd=ROOT, capture_output=True, check=False
        )
        seconds = time.perf_counter() - began_s
        if done.returncode:
            said = done.stderr.decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(words)[:200]}: {said}")
        peak_mib = int(peak.read_text("ascii")) / 1024
    return Measured(peak_mib, seconds)


# === What is measured ===


def preprocess(video: Path, work: Path, detector: str, weights: Path | None) -> Measured:
    """`preprocess` of a manifest of this one video."""
    manifest = work / f"{video.stem}.csv"
    manifest.write_text(f"path,label,speaker\n{video.name},happy,1\n", "utf-8")
    out = work / f"{video.stem}-records"
    words = ["cli.py", "preprocess", "--corpus", "manifest", "--source", str(manifest)]
    words += ["--out", str(out), "--workers", "1", "--detector", detector, "--overwrite"]
    return run(words + _weights(weights))


def predict(video: Path, model: Path, weights: Path | None) -> Measured:
    """`predict --json` of this one video."""
    words = ["cli.py", "predict", str(video), "--model", str(model), "--json"]
    return run(words + _weights(weights))


def _weights(weights: Path | None) -> list[str]:
    return ["--weights-dir", str(weights)] if weights is not None else []


def measure(
    videos: Sequence[Path], work: Path, detector: str, weights: Path | None, model: Path | None
) -> list[tuple[str, list[Measured]]]:
    """Memory of each part on each video."""
    given = [detector, str(weights or "")]
    rows = [
        ("decoding and faces", [run(["-c", _RECORDS, str(v), *given]) for v in videos]),
        ("windows", [run(["-c", _WINDOWS, str(v), *given]) for v in videos]),
    ]
    if model is not None:
        rows.append(("`preprocess`", [preprocess(v, work, detector, weights) for v in videos]))
        rows.append(("`predict`", [predict(v, model, weights) for v in videos]))
    return rows


def memory_table(
    rows: Sequence[tuple[str, list[Measured]]], lengths_s: Sequence[float]
) -> tuple[str, str]:
    """The table, and the verdict for each part."""
    short, long = (f"{s / 60:.3g} min" for s in lengths_s)
    columns = ("part", f"MiB, {short}", f"MiB, {long}", "ratio", f"seconds, {long}")
    cells, lines = [], []
    for name, (a, b) in rows:
        ratio = b.peak_mib / a.peak_mib
        peaks = (f"{a.peak_mib:.0f}", f"{b.peak_mib:.0f}")
        cells.append((name, *peaks, f"{ratio:.3f}", f"{b.seconds:.0f}"))
        lines.append(f"- {name}: {ratio:.2f} of {TARGET:g}, {report.verdict(ratio <= TARGET)}.")
    return report.table(columns, cells), "\n".join(lines)


# === Command line ===


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--model", type=Path, help="run or export; without it only the parts")
    parser.add_argument("--detector", default="haar")
    chosen = parser.parse_args(words)
    lengths_s = QUICK_LENGTHS_S if chosen.quick else LENGTHS_S
    shape = inputs.QUICK if chosen.quick else SHAPE
    model = chosen.model.resolve() if chosen.model is not None else None
    weights = chosen.weights_dir.resolve() if chosen.weights_dir is not None else None
    with report.work_folder(chosen.work) as work:
        source = inputs.clips(work, chosen.quick)[0][0]
        videos = [inputs.long_video(source, work.resolve(), shape, s) for s in lengths_s]
        machine = report.machine()
        rows = measure(videos, work.resolve(), chosen.detector, weights, model)
    made, verdicts = memory_table(rows, lengths_s)
    origin = (
        f"{shape.width_px}x{shape.height_px}, {shape.fps} a second, one clip repeated; detector"
        f" {chosen.detector}, one worker, a fresh process each; peak resident memory."
    )
    title = "Memory on long videos"
    report.publish(title, "memory", words, machine, [origin, made, verdicts], chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
