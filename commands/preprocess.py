"""`preprocess`: recordings -> records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

import registry
from commands import paths
from errors import EXIT_NOTHING_DONE, EXIT_OK, EXIT_SOME_REJECTED

if TYPE_CHECKING:
    from preprocessing.action_units import ActionUnitKind, ActionUnitTable

MAX_SHOWN = 10


@click.command("preprocess")
@click.option("--corpus", type=click.Choice(registry.names("corpora")), help="Kind of corpus.")
@click.option("--source", type=click.Path(path_type=Path), help="Folder, archive or table.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=paths.RECORDS,
    show_default=True,
    help="Data folder to write or complete.",
)
@click.option(
    "--detector",
    type=click.Choice([*registry.names("detectors"), "auto", "none"]),
    help="Face detector; none takes each picture whole."
    " [default: none for a corpus of cut-out faces, else auto]",
)
@click.option(
    "--action-units",
    metavar="PATH|mediapipe",
    help="Facial action units in place of face crops: a table of OpenFace (one row a recording or a"
    " frame) or a folder of its tables; mediapipe computes blendshapes from the videos.",
)
@click.option(
    "--num-frames",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Frames a record, with --sampling time.",
)
@click.option(
    "--sampling",
    type=click.Choice(["time", "every-third"]),
    default="time",
    show_default=True,
    help="Evenly in time, or every third frame from the 21st (S2).",
)
@click.option(
    "--face-size",
    type=click.IntRange(16, 512),
    default=112,
    show_default=True,
    help="Side of a face crop in pixels.",
)
@click.option("--face-color", type=click.Choice(["grey", "rgb"]), default="grey", show_default=True)
@click.option(
    "--sample-rate",
    type=click.IntRange(4000, 192000),
    default=16000,
    show_default=True,
    help="Rate of the stored sound in Hz; 48000 for features s2.",
)
@click.option(
    "--max-clip-s",
    type=click.FloatRange(0.5, 600),
    default=10.0,
    show_default=True,
    help="A longer clip becomes several records.",
)
@click.option(
    "--weights-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where weights of detectors and blendshapes lie.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes. [default: number of cores]")
@click.option("--overwrite", is_flag=True, help="Begin anew whatever --out holds.")
@click.option("--strict", is_flag=True, help="Exit 1 when any input is rejected.")
def command(
    corpus: str | None,
    source: Path | None,
    out: Path,
    detector: str | None,
    action_units: str | None,
    num_frames: int,
    sampling: str,
    face_size: int,
    face_color: str,
    sample_rate: int,
    max_clip_s: float,
    weights_dir: Path | None,
    workers: int | None,
    overwrite: bool,
    strict: bool,
) -> int:
    """Turns recordings into records that `train` reads.

    Without options it prepares the built-in SYNTHETIC sample corpus. Run again, it does only what
    is missing. Writes clips.csv, splits.json, rejected.csv and shards/ into --out.
    """
    from opencv_model.track import CropFormat
    from preprocessing.frame_plan import FrameSampling
    from preprocessing.preparation import PreparationSettings
    from preprocessing.preprocess import preprocess

    corpus, source = _source(corpus, source)
    kind, table = _action_units(action_units, detector)
    settings = PreparationSettings(
        detector="none" if kind else _detector(corpus, detector, weights_dir),
        sampling=FrameSampling(sampling, num_frames),
        face=CropFormat(face_size, cast(Literal["grey", "rgb"], face_color)),
        sample_rate_hz=sample_rate,
        max_clip_s=max_clip_s,
        action_units=kind,
    )
    workers = workers or len(os.sched_getaffinity(0))
    result = preprocess(corpus, source, out, settings, weights_dir, workers, overwrite, table)
    _report(result, out, "action units" if kind else "a face")
    if table is not None and result.without_row:
        some = ", ".join(result.without_row[:3])
        click.echo(
            f"warning: {len(result.without_row)} clips have no row in {table.path}, for one {some};"
            " those that are not rejected have no video stream",
            err=True,
        )
    if result.rejected:
        return EXIT_NOTHING_DONE if strict else EXIT_SOME_REJECTED
    return EXIT_OK


def _source(corpus: str | None, source: Path | None) -> tuple[str, Path]:
    if corpus in (None, "sample") and source is None:
        return "sample", paths.ensure_sample()
    if source is None:
        raise click.UsageError(f"--corpus {corpus} needs --source, where its recordings lie")
    if corpus is None:
        known = ", ".join(registry.names("corpora"))
        raise click.UsageError(f"--source needs --corpus, one of {known}")
    return corpus, source


def _detector(corpus: str, detector: str | None, weights_dir: Path | None) -> str:
    if detector is None and getattr(registry.load("corpora", corpus), "faces_cropped", False):
        click.echo("detector: none, the pictures of this corpus are faces already", err=True)
        return "none"
    if detector in (None, "auto"):
        from opencv_model.choose import resolve_auto

        choice = resolve_auto(weights_dir)
        click.echo(f"detector: {choice.name}, {choice.reason}", err=True)
        return choice.name
    return str(detector)


def _action_units(
    value: str | None, detector: str | None
) -> tuple[ActionUnitKind | None, ActionUnitTable | None]:
    """What takes the place of face crops, and the table that holds it."""
    if value is None:
        return None, None
    if detector is not None:
        raise click.UsageError("--detector is for face crops; leave it out with --action-units")
    from preprocessing.action_units import MEDIAPIPE, OPENFACE, ActionUnitKind

    if value == MEDIAPIPE:
        from opencv_model.blendshapes import BLENDSHAPES

        return ActionUnitKind(MEDIAPIPE, BLENDSHAPES), None
    from preprocessing.openface import read_action_units

    table = read_action_units(Path(value))
    return ActionUnitKind(OPENFACE, table.names), table


def _report(result: Any, out: Path, shown: str) -> None:
    rows = result.rows
    click.echo(f"{len(rows)} records in {out} ({result.num_prepared} clips prepared now)")
    for name, count in (
        ("with sound", sum(bool(row.num_samples) for row in rows)),
        (f"with {shown}", sum(bool(row.num_faces) for row in rows)),
    ):
        click.echo(f"  {name}: {count}")
    looked, found = sum(r.num_frames for r in rows), sum(r.num_faces for r in rows)
    if looked:
        click.echo(f"  frames looked at: {looked}, without {shown} (masked): {looked - found}")
    for split, ids in result.splits.parts.items():
        click.echo(f"  {split}: {len(ids)}")
    for note in result.splits.notes:
        click.echo(f"  note: {note}")
    for reason, count in sorted(result.left_out.items()):
        click.echo(f"  left out on purpose: {count} files, {reason}")
    if result.duplicates.groups:
        click.echo(
            f"  equal content: {len(result.duplicates.groups)} groups, for one"
            f" {' = '.join(result.duplicates.groups[0][:3])}"
        )
    for reason, count in sorted(result.duplicates.counts.items()):
        click.echo(f"    left out of training and evaluation: {count} records, {reason}")
    if result.duplicates.kept_in_test:
        click.echo(f"    kept in the official test part: {result.duplicates.kept_in_test} copies")
    for rejection in result.rejected[:MAX_SHOWN]:
        click.echo(f"rejected {rejection.path}: {rejection.reason}", err=True)
    if result.rejected:
        click.echo(
            f"{len(result.rejected)} inputs rejected, all in {out / 'rejected.csv'}", err=True
        )
