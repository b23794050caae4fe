"""`demo`: the whole job on the built-in sample corpus."""

from __future__ import annotations

import time
from pathlib import Path

import click

from affectstream.commands.options import sample_data
from affectstream.commands.options.param_types import LocalOutputPath
from affectstream.core import atomic_io
from affectstream.core.errors import UserError

# Few clips and little time: smaller steps than the recipes take on a corpus of full size, and no
# augmentation of the sound, which would want more epochs.
SETTINGS: dict[str, tuple[str, ...]] = {
    "audio": ("--epochs", "24", "--batch-size", "8", "--set", "transforms="),
    "video": ("--epochs", "8", "--batch-size", "8"),
}
# Of each run, where `evaluate` keeps what it found on the test part of OUT/records.
SCORES = "evaluation/records-test"


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
    _step(
        "preprocess", "--corpus", "sample", "--source", sample, "--out", records, "--num-frames", 8
    )
    for stream, settings in SETTINGS.items():
        if not _finished(out / stream):
            _step(
                "train",
                "--stream",
                stream,
                "--data",
                records,
                "--out",
                out / stream,
                "--overwrite",
                *settings,
            )
    if not _finished(out / "fusion"):
        _step(
            "train",
            "--stream",
            "fusion",
            "--data",
            records,
            "--out",
            out / "fusion",
            "--audio-run",
            out / "audio",
            "--video-run",
            out / "video",
            "--overwrite",
        )
    for run in (*SETTINGS, "fusion"):
        _step("evaluate", "--run", out / run, "--data", records)
    if not (exported / "1").is_dir():
        _step("export", "--run", out / "fusion", "--out", exported)
    clip = sorted(sample.glob("Actor_08/*.mp4"))[0]
    _step(
        "predict",
        clip,
        "--model",
        exported,
        "--plot",
        out / "timeline.png",
        "--annotate",
        out / "annotated.mp4",
        "--csv",
        out / "windows.csv",
    )
    _summary(out, time.perf_counter() - began_s)


def _step(*words: str | int | Path) -> None:
    click.echo("", err=True)
    if code := sample_data.run_command(*words):
        raise UserError(f"demo stopped: `{words[0]}` ended with exit code {code}")


def _finished(run: Path) -> bool:
    from affectstream.modeling.runs.run_folder import is_run, read_run

    return is_run(run) and read_run(run).finished


def _summary(out: Path, seconds: float) -> None:
    click.echo(f"\nSYNTHETIC sample corpus, speakers never shared, {seconds:.0f} s")
    click.echo(f"{'model':<8}{'test UAR':>9}{'95 % over speakers':>21}{'WA':>7}{'ECE':>7}")
    for run in (*SETTINGS, "fusion"):
        scores = atomic_io.read_json(out / run / SCORES / "metrics.json")
        interval = scores["uar_ci95"]
        told = f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "under 3 speakers"
        click.echo(
            f"{run:<8}{scores['uar']:>9.3f}{told:>21}{scores['wa']:>7.3f}{scores['ece']:>7.3f}"
        )
    click.echo(f"chance{1 / 7:>11.3f}")
    for name in (
        "records",
        "audio",
        "video",
        "fusion",
        "export/1",
        "timeline.png",
        "annotated.mp4",
        "windows.csv",
        f"fusion/{SCORES}/confusion_matrix.png",
    ):
        click.echo(f"wrote {out / name}")
