"""How long training waits for its input, for `relu-cnn-audio` and `elu-cnn-video`, augmented.

The real loop on the real pipeline. The share as `history.csv` has it leaves out the first batch
of an epoch, which fills the shuffle buffer; here it is shown both without and with that. A second
table has the wait for the end of an epoch with tf.data's tuner, which the program leaves out.
"""

from __future__ import annotations

import contextlib
import csv
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import inputs, report

TARGET = 0.1
RECIPES = {"audio": "relu-cnn-audio", "video": "elu-cnn-video"}


@dataclass
class TimedBatches:
    """Batches that note when the first of the epoch came, and its end.

    Attributes:
      batches: `affectstream.modeling.data.record_dataset.RecordDataset`.
      first_s: seconds until the first batch of the last epoch.
      end_s: seconds from the demand after its last batch to the word that there is none.
    """

    batches: Any
    first_s: float = 0.0
    end_s: float = 0.0

    @property
    def num_batches(self) -> int:
        return int(self.batches.num_batches)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        began_s = time.perf_counter()
        for number, batch in enumerate(self.batches(epoch)):
            if number == 0:
                self.first_s = time.perf_counter() - began_s
            yield batch
            asked_s = time.perf_counter()
        self.end_s = time.perf_counter() - asked_s


@dataclass(frozen=True)
class EpochWait:
    """One epoch: seconds, share waited, seconds to the first batch and at the end, ms a batch."""

    seconds: float
    share: float
    first_s: float
    end_s: float
    batch_ms: float

    @property
    def share_with_first(self) -> float:
        return (self.share * self.seconds + self.first_s) / self.seconds


def measure(
    stream: str, data: Path, num_clips: int, num_epochs: int
) -> tuple[list[EpochWait], int]:
    """Trains for some epochs on the first records of a data folder; also the examples of one."""
    import numpy as np

    from affectstream.core import registry
    from affectstream.modeling.data.record_dataset import RecordDataset
    from affectstream.modeling.data.subset import Subset
    from affectstream.modeling.data.training_data import training_data
    from affectstream.modeling.input_spec import InputSpec
    from affectstream.modeling.models.stream_model import build_stream_model
    from affectstream.modeling.training.train_single import max_samples_of_recipe
    from affectstream.modeling.training.trainer import Trainer
    from affectstream.preprocessing.dataset.data_folder import open_data_folder

    recipe = registry.load("recipes", RECIPES[stream]).with_training(epochs=num_epochs)
    folder = open_data_folder(data)
    whole = training_data([folder], recipe.labels, (stream,), allow_leak=False)
    part = whole.subsets["train"]
    part = Subset(part.folders, tuple(rows[:num_clips] for rows in part.rows))
    spec = InputSpec.of(folder, stream)
    classes = len(whole.labels.labels)
    model = build_stream_model(recipe, classes, spec).whole
    batches = TimedBatches(
        RecordDataset(
            part,
            whole.labels,
            (stream,),
            recipe.training.batch_size,
            seed=0,
            transforms=recipe.transforms,
            frames_as_examples=recipe.frames_as_examples,
            max_samples=max_samples_of_recipe(recipe),
        )
    )
    steps = batches.num_batches * num_epochs
    trainer = Trainer(model, recipe, np.ones(classes, np.float32), steps)
    epochs = []
    for epoch in range(num_epochs):
        row = trainer.train_epoch(batches, epoch, num_epochs)
        waits_s = batches.first_s, batches.end_s
        alone_ms = seconds_to_read(batches(epoch)) / batches.num_batches * 1000
        epochs.append(EpochWait(row["seconds"], row["input_wait_share"], *waits_s, alone_ms))
    return epochs, int(batches.batches.num_examples)


@contextlib.contextmanager
def tfdata_autotune() -> Iterator[None]:
    """Data have tf.data's tuner meanwhile, as they have by default."""
    from affectstream.modeling.data import record_dataset as pipeline

    left_out = pipeline.without_autotune
    pipeline.without_autotune = lambda data: data
    try:
        yield
    finally:
        pipeline.without_autotune = left_out


def seconds_to_read(batches: Iterable[Any]) -> float:
    """Reads an epoch and does nothing with it."""
    began_s = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began_s


def made_records(work: Path) -> Path:
    """A data folder of the synthetic corpus: 21 clips by 3 speakers."""
    from affectstream.preprocessing.records.preprocess import preprocess
    from affectstream.preprocessing.synthetic.corpus import synthesize

    out = work / "records"
    source = work / "sample-3"
    synthesize(source, num_speakers=3, num_takes=1, duration_s=2.0)
    preprocess("sample", source, out, inputs.default_settings("haar"))
    return out


def recorded(paths: Sequence[Path]) -> str:
    """What runs of any length noted in their `history.csv`."""
    rows = []
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            shares = [float(row["input_wait_share"]) for row in csv.DictReader(file)]
        spread = f"{report.median(shares):.2%} ({min(shares):.2%} to {max(shares):.2%})"
        is_met = max(shares) < TARGET
        rows.append((path.parent.name, len(shares), spread, report.verdict(is_met)))
    return report.table(("run", "epochs", "share waited", "target"), rows)


def wait_table(measured: dict[str, tuple[list[EpochWait], int]]) -> str:
    columns = ["recipe", "examples", "epoch", "seconds", "share waited", "with the first batch"]
    columns += ["s to the first batch", "ms a batch, input alone", "target"]
    rows = []
    for stream, (epochs, examples) in measured.items():
        for number, one in enumerate(epochs, 1):
            cells = (f"{one.share:.2%}", f"{one.share_with_first:.2%}", f"{one.first_s:.2f}")
            met = report.verdict(one.share < TARGET)
            head = (RECIPES[stream], examples, number, f"{one.seconds:.1f}")
            rows.append((*head, *cells, f"{one.batch_ms:.0f}", met))
    return report.table(columns, rows)


def end_table(measured: dict[str, tuple[list[EpochWait], list[EpochWait]]]) -> str:
    """End times of epochs, by stream: without and with the autotuner."""
    columns = ["recipe", "tuner", "epochs", "s an epoch", "s at its end, median", "most"]
    rows = []
    for stream, ways in measured.items():
        for way, epochs in zip(("left out", "at work"), ways, strict=True):
            ends_s = [one.end_s for one in epochs]
            seconds = report.median([one.seconds for one in epochs])
            told = (f"{report.median(ends_s):.3f}", f"{max(ends_s):.3f}")
            rows.append((RECIPES[stream], way, len(epochs), f"{seconds:.1f}", *told))
    return report.table(columns, rows)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--audio-data", type=Path, help="data folder with sound")
    parser.add_argument("--video-data", type=Path, help="data folder with faces")
    parser.add_argument("--history", type=Path, action="append", default=[], help="of a past run")
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    data = {"audio": chosen.audio_data, "video": chosen.video_data}
    clips, epochs = (8, 1) if chosen.quick else (chosen.clips, chosen.epochs)
    with report.work_folder(chosen.work) as work:
        if None in data.values():
            made = made_records(work)
            data = {stream: path or made for stream, path in data.items()}
        machine = report.machine()
        measured = {s: measure(s, path, clips, epochs) for s, path in data.items()}
        ends = {}
        for stream, path in data.items():
            with tfdata_autotune():
                tuned, _ = measure(stream, path, clips, epochs)
            ends[stream] = (measured[stream][0], tuned)
    parts = [
        f"The first {clips} clips or pictures of the training part, augmented as the recipes say."
        f" Epoch 1 builds the graph and fills the cache. Target: below {TARGET:.0%}.",
        wait_table(measured),
        "From the last batch of an epoch to the word that there is none, and with tf.data's tuner,"
        " without which data are read here:",
        end_table(ends),
    ]
    if chosen.history:
        parts += ["Whole trainings, as their `history.csv` tells:", recorded(chosen.history)]
    report.publish("Waiting for input", "input_wait", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
