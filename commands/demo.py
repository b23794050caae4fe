"""`demo`: all steps on the built-in sample corpus."""

from __future__ import annotations

import time
from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import LocalOutputPath
from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.core.templates import render

# Smaller steps than in the recipes for a corpus of full size, and no audio augmentation, which
# would need more epochs.
SETTINGS: dict[str, tuple[str, ...]] = {
    "audio": ("--epochs", "24", "--batch-size", "8", "--set", "transforms="),
    "video": ("--epochs", "8", "--batch-size", "8"),
}
# Folder in each run for the results of `evaluate` on the test split of OUT/records.
SCORES = "evaluation/records-test"
WRITTEN = (
    *("records", "audio", "video", "fusion", "export/1"),
    *("timeline.png", "annotated.mp4", "windows.csv", f"fusion/{SCORES}/confusion_matrix.png"),
)


@click.command("demo")
@click.option(
    "--out",
    type=LocalOutputPath(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for everything it writes.",
)
def command(out: Path) -> None:
    """Runs preprocess, train (audio, video, fusion), evaluate, export and predict.

    On the SYNTHETIC sample corpus: it shows that everything works, not how good it is. Finished
    steps are not done again.
    """
    began_s = time.perf_counter()
    sample, records, exported = out / "sample", out / "records", out / "export"
    sample_data.ensure_sample(sample)
    _step("preprocess", corpus="sample", source=sample, out=records, num_frames=8)
    for stream, settings in SETTINGS.items():
        if not _finished(out / stream):
            _step("train", "--overwrite", *settings, stream=stream, data=records, out=out / stream)
    if not _finished(out / "fusion"):
        runs = {"audio_run": out / "audio", "video_run": out / "video"}
        _step("train", "--overwrite", stream="fusion", data=records, out=out / "fusion", **runs)
    for run in (*SETTINGS, "fusion"):
        _step("evaluate", run=out / run, data=records)
    if not (exported / "1").is_dir():
        _step("export", run=out / "fusion", out=exported)
    clip = sorted(sample.glob("Actor_08/*.mp4"))[0]
    written = {"plot": "timeline.png", "annotate": "annotated.mp4", "csv": "windows.csv"}
    _step("predict", clip, model=exported, **{key: out / name for key, name in written.items()})
    _summary(out, time.perf_counter() - began_s)


def _step(name: str, *words: str | Path, **options: str | int | Path) -> None:
    """Runs a command like a typed one; `num_frames=8` stands for `--num-frames 8`."""
    click.echo("", err=True)
    typed = [
        word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)
    ]
    if code := sample_data.run_command(name, *words, *typed):
        raise UserError(f"demo stopped: `{name}` ended with exit code {code}")


def _finished(run: Path) -> bool:
    from affectstream.modeling.runs.run_folder import is_run, read_run

    return is_run(run) and read_run(run).finished


def _summary(out: Path, seconds: float) -> None:
    runs = (*SETTINGS, "fusion")
    scores = {run: atomic_io.read_json(out / run / SCORES / "metrics.json") for run in runs}
    click.echo(
        render(
            "affectstream.commands",
            "demo.txt.j2",
            seconds=seconds,
            scores=scores,
            written=[out / name for name in WRITTEN],
        ),
        nl=False,
    )
