"""`preprocess`: recordings -> records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from affectstream.commands.jobs.prep_steps import STEPS, PreparationSteps
from affectstream.commands.options import sample_data
from affectstream.commands.options.engine_options import engine_options, limit_options, make_engine
from affectstream.commands.options.param_types import (
    WEIGHTS_FOLDER,
    FiniteRange,
    OutputPath,
    StoragePath,
    resolve_path,
)
from affectstream.commands.reports.failures import print_first
from affectstream.commands.reports.preprocess_report import (
    report,
    report_rejected,
    report_without_row,
)
from affectstream.core import atomic_io, registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL, pluralize
from affectstream.parallel.tasks import TaskLimits

if TYPE_CHECKING:
    from affectstream.preprocessing.corpora.corpus import Corpus
    from affectstream.preprocessing.faces.action_units import ActionUnitSpec, ActionUnitTable
    from affectstream.preprocessing.records.preprocess import PreprocessResult

TRANSCRIPTS_FAILED = "transcripts_failed.csv"


@click.command("preprocess")
@click.option("--corpus", type=click.Choice(registry.names("corpora")), help="Kind of corpus.")
@click.option(
    "--source", type=StoragePath(use_listings_cache=True), help="Folder, archive or table."
)
@click.option(
    "--out",
    type=OutputPath(),
    default=sample_data.DEFAULT_DATA_FOLDER,
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
    help="time: --num-frames evenly in time; every-third: every third frame from the 21st.",
)
@click.option(
    "--face-size",
    type=click.IntRange(16, 512),
    default=112,
    show_default=True,
    help="Side of a face crop in pixels.",
)
@click.option(
    "--face-margin",
    type=FiniteRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the longer side of a face's box that is added all around; 0 as the pictures of"
    " FER2013, and the face network in pretrained/.",
)
@click.option("--face-color", type=click.Choice(["grey", "rgb"]), default="grey", show_default=True)
@click.option(
    "--sample-rate",
    type=click.IntRange(4000, 192000),
    default=16000,
    show_default=True,
    help="Rate of the stored sound in Hz; 48000 for features log_mel_128_48k.",
)
@click.option(
    "--max-clip-s",
    type=FiniteRange(0.5, 600),
    default=10.0,
    show_default=True,
    help="A longer clip becomes several records.",
)
@click.option(
    "--min-decoded-share",
    type=FiniteRange(0, 1),
    default=0.95,
    show_default=True,
    help="A clip is rejected when less of its sound, of its frames looked at, or of the duration"
    " that its file states can be decoded; 0 takes all. Damage that is taken is reported.",
)
@click.option(
    "--transcriber",
    type=click.Choice(registry.names("transcribers")),
    help="Recogniser that writes a transcript for every sound that has none; google sends it away.",
)
@click.option(
    "--language",
    metavar="TAG",
    help="Language that --transcriber listens for. [default: en-US]",
)
@click.option(
    "--improvised-only",
    is_flag=True,
    help="Leave scripted dialogues out, which all sessions act alike (iemocap).",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Of a manifest: stands in the ids of its people and recordings, so that they are not taken"
    " for those of another manifest. [default: of the data folder that is completed, else a digest"
    " of the table]",
)
@click.option(
    "--same-speakers-as",
    type=StoragePath(),
    metavar="DATA",
    help="Prepared data whose speakers the manifest names; equal ids are then one person.",
)
@click.option(
    "--stop-after",
    type=click.Choice(STEPS),
    help="Go step by step up to this one, skipping what is done: labels.csv, the records,"
    " features.csv, the split by session, transcripts.csv.",
)
@click.option(
    "--weights-dir",
    type=WEIGHTS_FOLDER,
    help="Where weights of detectors and blendshapes lie.",
)
@engine_options(
    "Processes; 0 reads in this one, which a recording may then crash. [default: one a core]"
)
@limit_options(
    "Seconds that one record may take; a recording that takes more, twice, is rejected.",
    "Memory that a process may take, likewise.",
)
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
    face_margin: float,
    face_color: str,
    sample_rate: int,
    max_clip_s: float,
    min_decoded_share: float,
    transcriber: str | None,
    language: str | None,
    improvised_only: bool,
    name: str | None,
    same_speakers_as: Path | None,
    stop_after: str | None,
    weights_dir: Path | None,
    engine: str,
    address: str | None,
    workers: int | None,
    timeout_s: float,
    memory_limit_gb: float,
    overwrite: bool,
    strict: bool,
) -> int:
    """Turns recordings into records that `train` reads.

    Without options it prepares the built-in SYNTHETIC sample corpus. Run again, it does only what
    is missing. Writes clips.csv, splits.json, rejected.csv and shards/ into --out, and with
    --transcriber also transcripts_failed.csv. With --stop-after it goes step by step and ends with
    that
    step.
    """
    from affectstream.opencv_model.tracking import CropFormat
    from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
    from affectstream.preprocessing.records.preprocess import PreprocessOptions, preprocess
    from affectstream.preprocessing.records.record_settings import RecordSettings
    from affectstream.preprocessing.records.settings_check import (
        folder_settings,
        require_same_settings,
        with_resolved_name,
    )
    from affectstream.preprocessing.speech_to_text.transcript_cache import DEFAULT_LANGUAGE

    if language is not None and transcriber is None:
        raise click.UsageError("--language is for --transcriber; give both or neither")
    corpus = _corpus(corpus, source, out)
    reader = _reader(corpus, improvised_only)
    if name is not None or same_speakers_as is not None:
        reader = _with_identity(reader, name, same_speakers_as)
    kind, table = _action_units(action_units, detector)
    options = PreprocessOptions(
        weights_dir,
        make_engine(engine, address, workers),
        overwrite,
        table,
        TaskLimits(timeout_s, memory_limit_gb * 2**30),
    )
    click.get_current_context().with_resource(atomic_io.folder_lock(out))
    if source is None:
        if not overwrite:
            require_same_settings(out, folder_settings(reader))
        source = sample_data.ensure_sample()
    unnamed, reader = reader, with_resolved_name(reader, source, out, overwrite)
    if reader.name != unnamed.name:
        click.echo(f"ids of this manifest begin with {reader.name}/ (see --name)", err=True)
    steps = PreparationSteps(reader, source, out, overwrite) if stop_after else None
    if steps is not None and stop_after == "labels":
        steps.write_labels(folder_settings(reader))
        return _exit_code(report_rejected(steps.corpus_index.rejected), strict)
    settings = RecordSettings(
        detector="none" if kind else _detector(reader, detector, weights_dir),
        sampling=FrameSampling(sampling, num_frames),
        face=CropFormat(face_size, cast(Literal["grey", "rgb"], face_color), face_margin),
        sample_rate_hz=sample_rate,
        max_clip_s=max_clip_s,
        action_units=kind,
        transcriber=transcriber or "",
        language=language or DEFAULT_LANGUAGE,
        min_decoded_share=min_decoded_share,
    )
    if steps is not None:
        steps.write_labels(folder_settings(reader, settings))

    def prepare() -> PreprocessResult:
        result = preprocess(reader, source, out, settings, options)
        report(result, out, "action units" if kind else "a face")
        _report_transcripts(result.rows, out, transcriber)
        report_without_row(result, table)
        return result

    if steps is None or stop_after is None:
        return _exit_code(len(prepare().rejected), strict)
    steps.prepare_records(settings.as_json() if table is None else None, prepare)
    steps.run_later_steps(stop_after)
    return _exit_code(len(steps.rejected()), strict)


def _exit_code(num_rejected: int, strict: bool) -> int:
    if num_rejected:
        return EXIT_FAILURE if strict else EXIT_PARTIAL
    return EXIT_OK


def _reader(corpus: str, improvised_only: bool) -> Corpus:
    """The corpus from the registry, with the options that only some corpora have."""
    reader: Corpus = registry.load("corpora", corpus)
    if not improvised_only:
        return reader
    improvised = reader.without_scripts()
    if improvised is None:
        raise click.UsageError(f"--improvised-only is for iemocap; {corpus} has no scripts")
    return improvised


def _with_identity(reader: Corpus, name: str | None, same_speakers_as: Path | None) -> Corpus:
    """A manifest with its name, or with the speakers of other data."""
    from affectstream.preprocessing.corpora.manifest import (
        MANIFEST_PREFIX,
        ManifestCorpus,
        manifest_name,
    )
    from affectstream.preprocessing.dataset.data_folder import read_settings, require_data_folder

    if not isinstance(reader, ManifestCorpus):
        raise click.UsageError(
            f"--name and --same-speakers-as are for --corpus {MANIFEST_PREFIX}; {reader.name}"
            " has ids of its own"
        )
    if name is not None:
        reader = dataclasses.replace(reader, name=manifest_name(name))
    if same_speakers_as is None:
        return reader
    require_data_folder(same_speakers_as)
    theirs = read_settings(same_speakers_as)
    people = theirs.get("corpus_options", {}).get("people") or theirs["corpus"]
    return dataclasses.replace(reader, people=people)


def _corpus(corpus: str | None, source: Path | None, out: Path) -> str:
    """The corpus to read; the sample needs no source.

    Raises:
      click.UsageError: one without the other; or neither, although the user has other data.
    """
    if source is not None:
        if corpus is None:
            known = ", ".join(registry.names("corpora"))
            raise click.UsageError(f"--source needs --corpus, one of {known}")
        return corpus
    if corpus not in (None, "sample"):
        raise click.UsageError(f"--corpus {corpus} needs --source, where its recordings lie")
    others = sample_data.find_data_folders(out, sample_data.DEFAULT_DATA_FOLDER)
    if corpus is None and others:
        raise click.UsageError(
            "name --corpus and --source, or --corpus sample for the built-in SYNTHETIC one: other"
            f" data were prepared here ({', '.join(map(str, others))})"
        )
    return "sample"


def _detector(corpus: Corpus, detector: str | None, weights_dir: Path | None) -> str:
    if detector is None and corpus.text_only:
        return "none"
    if detector is None and corpus.faces_cropped:
        click.echo("detector: none, the pictures of this corpus are faces already", err=True)
        return "none"
    if detector in (None, "auto"):
        from affectstream.opencv_model.detectors.auto_detector import resolve_auto

        choice = resolve_auto(weights_dir)
        click.echo(f"detector: {choice.name}, {choice.reason}", err=True)
        return choice.name
    return str(detector)


def _action_units(
    value: str | None, detector: str | None
) -> tuple[ActionUnitSpec | None, ActionUnitTable | None]:
    """The action units that replace face crops, and their table."""
    if value is None:
        return None, None
    if detector is not None:
        raise click.UsageError("--detector is for face crops; leave it out with --action-units")
    from affectstream.preprocessing.faces.action_units import MEDIAPIPE, OPENFACE, ActionUnitSpec

    if value == MEDIAPIPE:
        from affectstream.opencv_model.blendshapes import BLENDSHAPES

        return ActionUnitSpec(MEDIAPIPE, BLENDSHAPES), None
    from affectstream.preprocessing.faces.openface import read_action_units

    table = read_action_units(resolve_path(value))
    return ActionUnitSpec(OPENFACE, table.names), table


def _report_transcripts(rows: Sequence[Any], out: Path, transcriber: str | None) -> None:
    """Prints a summary of the transcriber and writes its failures to `TRANSCRIPTS_FAILED`."""
    from affectstream.core import atomic_io
    from affectstream.preprocessing.speech_to_text.transcript_cache import (
        FAILURE_ATTRIBUTE,
        TRANSCRIBED_BY,
    )

    table = out / TRANSCRIPTS_FAILED
    if transcriber is None:
        table.unlink(missing_ok=True)  # left by an earlier run that was overwritten
        return
    # Like `path` of a clip; segments of a long clip are numbered.
    failed = [
        (row.id.partition("/")[2], row.attributes[FAILURE_ATTRIBUTE])
        for row in rows
        if FAILURE_ATTRIBUTE in row.attributes
    ]
    columns = ("path", "reason")
    atomic_io.write_csv(
        table, columns, (dict(zip(columns, cells, strict=True)) for cells in failed)
    )
    num_done = sum(TRANSCRIBED_BY in row.attributes for row in rows)
    num_own = sum(bool(row.transcript) for row in rows) - num_done
    click.echo(
        f"  transcribed by {transcriber}: {num_done}, without success: {len(failed)},"
        f" with a transcript before: {num_own}"
    )
    print_first("no transcript of", failed)
    if failed:
        click.echo(
            f"{pluralize(len(failed), 'sound')} without a transcript, all in {table}; to try those"
            " again that got no answer, --overwrite: what was answered is remembered",
            err=True,
        )
