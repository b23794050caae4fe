"""Peak memory of reading clips of 10 s for training: two shuffled epochs in a fresh process each.

`kept` holds the records in memory after the first epoch; `read anew` is what happens above
`affectstream.modeling.data.record_dataset.RECORD_CACHE_BYTES`, which is set to nothing for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from affectstream import cli
from affectstream.preprocessing.labels import BASIC7
from benchmarks import report
from benchmarks.speed import memory
from benchmarks.speed.memory import Measured

CLIP_S, RATE_HZ = 10.0, 16_000
NUM_CLIPS = (200, 2000)
QUICK_NUM_CLIPS = (7, 14)
READING_MODES = {"kept": "", "read anew": "0"}

# Runs in a fresh process: argv[1] the data folder, argv[2] bytes that may be kept, or "".
_READ = """
import sys
from affectstream.core import tf_setup
tf_setup.import_tensorflow()
from affectstream.modeling.data import record_dataset
from affectstream.modeling.data.subset import select_records
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.labels import BASIC7
if sys.argv[2]:
    record_dataset.RECORD_CACHE_BYTES = int(sys.argv[2])
part = select_records([open_data_folder(sys.argv[1])], "all", BASIC7, ("audio",))
batches = record_dataset.RecordDataset(part, BASIC7, ("audio",), 16, seed=0)
for epoch in range(2):
    for _ in batches(epoch):
        pass
"""


def write_clips(folder: Path, num_clips: int) -> Path:
    """Creates a data folder with audio only, noise of `CLIP_S`, unless it exists."""
    records = folder / "records"
    if records.is_dir():
        return records
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,label,speaker"]
    for number in range(num_clips):
        noise = np.random.default_rng(number).normal(0, 0.1, round(CLIP_S * RATE_HZ))
        soundfile.write(folder / f"{number}.wav", noise, RATE_HZ)
        lines.append(f"{number}.wav,{BASIC7.labels[number % 7]},{number % 20}")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(lines) + "\n", "utf-8")
    words = ["preprocess", "--corpus", "manifest", "--source", str(manifest), "--out", str(records)]
    with contextlib.redirect_stdout(sys.stderr):  # the report alone goes to stdout
        status = cli.main([*words, "--detector", "none"])
    if status:
        raise RuntimeError(f"{manifest}: not prepared; see above")
    return records


def measure(work: Path, counts: Sequence[int]) -> list[tuple[str, list[Measured]]]:
    """Memory of each way of reading, for each number of clips."""
    folders = [write_clips(work / f"clips-{count}", count) for count in counts]
    return [
        (way, [memory.run(["-c", _READ, str(folder), allowed]) for folder in folders])
        for way, allowed in READING_MODES.items()
    ]


def reading_table(
    rows: Sequence[tuple[str, list[Measured]]], counts: Sequence[int]
) -> tuple[str, str]:
    """The table, and the memory of one more clip for each way."""
    few, many = counts
    columns = ("records", f"MiB, {few} clips", f"MiB, {many:,} clips", "KiB a further clip")
    cells = []
    for way, (a, b) in rows:
        slope_kib = (b.peak_mib - a.peak_mib) * 1024 / (many - few)
        cells.append((way, f"{a.peak_mib:.0f}", f"{b.peak_mib:.0f}", f"{slope_kib:.0f}"))
    stored_kib = CLIP_S * RATE_HZ * np.dtype(np.int16).itemsize / 1024
    return report.table(columns, cells), f"A clip takes {stored_kib:.0f} KiB as it is stored."


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    chosen = report.parser(__doc__).parse_args(words)
    counts = QUICK_NUM_CLIPS if chosen.quick else NUM_CLIPS
    with report.work_folder(chosen.work) as work:
        made, told = reading_table(measure(work.resolve(), counts), counts)
    title = "Memory of reading for training"
    report.publish(title, "reading_memory", words, report.machine(), [made, told], chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
