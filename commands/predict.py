"""`predict`: emotion of recordings and text, window by window."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affectstream.commands.jobs.prediction_jobs import (
    PredictInputs,
    PredictionJob,
    collect_inputs,
    prediction_jobs,
    rejected_job,
)
from affectstream.commands.jobs.prediction_outputs import PredictOutputs, predict_all
from affectstream.commands.options.default_model import default_model
from affectstream.commands.options.engine_options import limit_options
from affectstream.commands.options.param_types import (
    WEIGHTS_FOLDER,
    FiniteRange,
    OutputFile,
    OutputTable,
    StoragePath,
    require_distinct_paths,
)
from affectstream.commands.reports.prediction_report import timeline_paths
from affectstream.core import progress, registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.file_kinds import format_suffix_counts

if TYPE_CHECKING:
    from affectstream.parallel.isolated_worker import IsolatedWorker
    from affectstream.preprocessing.speech_to_text.transcript_cache import CachedTranscriber
    from affectstream.serving.inference.predict_options import PredictOptions


@click.command("predict")
@click.argument(
    "inputs", nargs=-1, type=StoragePath(use_listings_cache=True), metavar="FILE|FOLDER..."
)
@click.option(
    "--model",
    type=StoragePath(),
    help="Run folder, export or .tflite. [default: pretrained/emotion, pretrained/text for text"
    " alone; where these are absent runs/fusion, audio, video or text]",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a file on stdout.")
@click.option(
    "--csv",
    "csv_path",
    type=OutputTable(),
    help="Write one row a window; FILE.tsv with tabs between.",
)
@click.option(
    "--plot",
    type=OutputFile(".png"),
    help="Draw the time line as PNG; for several files one NAME-FILE.png each.",
)
@click.option(
    "--annotate",
    type=OutputFile(".mp4"),
    help="Write the video with box and answer drawn in; one input only.",
)
@click.option(
    "--face",
    type=click.Choice(["largest", "all"]),
    default="largest",
    show_default=True,
    help="Follow the largest face, or answer for each as well.",
)
@click.option(
    "--window-s",
    type=FiniteRange(0.2, 60),
    help="Length of the windows. [default: as `evaluate` scores the model, mostly 3 s, and a"
    " recording not much longer than that is taken whole]",
)
@click.option(
    "--hop-s",
    type=FiniteRange(0.1, 60),
    help="Largest step from one window to the next. [default: the model's own, mostly half of one]",
)
@click.option(
    "--smooth-s",
    type=FiniteRange(0, 600, min_open=True),
    help="Average each window's answer with those around it, over so many seconds in all.",
)
@click.option(
    "--action-units",
    "units_path",
    type=StoragePath(),
    help="OpenFace's table of the inputs, or a folder of its tables, for a model trained on such.",
)
@click.option("--text", help="What is said in the one input; without an input, words alone.")
@click.option(
    "--transcriber",
    "transcriber_name",
    type=click.Choice(registry.names("transcribers")),
    help="Speech transcriber that hears the words of each window, for a model that knows words.",
)
@click.option("--language", default="en-US", show_default=True, help="Of --transcriber.")
@click.option(
    "--abstain-below",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Give no label where the highest probability is lower, but 'abstained'.",
)
@click.option(
    "--min-speech-share",
    type=FiniteRange(0, 1, min_open=True),
    help="Give no label but 'abstained' if a smaller share of the sound is speech.",
)
@click.option(
    "--min-known-word-share",
    type=FiniteRange(0, 1, min_open=True),
    help="Give no label but 'abstained' if the model knows a smaller share of the words.",
)
@click.option(
    "--detector",
    type=click.Choice([*registry.names("detectors"), "auto", "none"]),
    help="Face detector; none takes each picture whole, as a face. [default: the model's own]",
)
@click.option(
    "--weights-dir",
    type=WEIGHTS_FOLDER,
    help="Where weights of detectors and blendshapes lie.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 1),
    default=1,
    show_default=True,
    help="1 reads recordings in a process of its own; 0 in this one, which they may then crash.",
)
@limit_options(
    "Seconds until the next stretch (of --hop-s, or all of a recording of a few seconds) is read; a"
    " recording that takes more is rejected.",
    "Memory that the process which reads may take, likewise.",
)
def command(
    inputs: tuple[Path, ...],
    model: Path | None,
    as_json: bool,
    csv_path: Path | None,
    plot: Path | None,
    annotate: Path | None,
    face: str,
    window_s: float | None,
    hop_s: float | None,
    smooth_s: float | None,
    units_path: Path | None,
    text: str | None,
    transcriber_name: str | None,
    language: str,
    abstain_below: float | None,
    min_speech_share: float | None,
    min_known_word_share: float | None,
    detector: str | None,
    weights_dir: Path | None,
    workers: int,
    timeout_s: float,
    memory_limit_gb: float,
) -> int:
    """Recognises emotion in media files of any kind and length, window by window.

    A missing stream (no sound, silence, no face, no text) is left out, and the output says so.
    Each line of a .txt file gets its own prediction. `evaluate` shows the accuracy at each
    probability for --abstain-below.
    """
    if window_s is not None and hop_s is not None and hop_s > window_s:
        raise click.UsageError(f"--hop-s {hop_s:g} must not be above --window-s {window_s:g}")
    if not inputs and text is None:
        raise click.UsageError("name a FILE or FOLDER, or --text")
    written = {"--csv": csv_path, "--plot": plot, "--annotate": annotate}
    with collect_inputs(inputs) as given:
        _require_same_preparation(given, text, transcriber_name, written)
        model = model or default_model(given.files, text)
        from affectstream.preprocessing.faces.openface import read_action_units
        from affectstream.serving.inference.predict_options import PredictOptions

        table = read_action_units(units_path) if units_path is not None else None
        transcriber = _transcriber(transcriber_name, language)
        is_guarded = bool(workers) and bool(given.recordings)
        with _process(is_guarded, timeout_s, memory_limit_gb) as process:
            recognizer = _loaded(model, weights_dir, detector, process)
            options = PredictOptions(face, window_s, hop_s, table, text, transcriber)
            jobs = _prediction_jobs(given, recognizer, options)
            plots = _plots(plot, given, csv_path)
            limits = (abstain_below, min_speech_share, min_known_word_share)
            transcribes = transcriber_name is not None
            outputs = PredictOutputs(
                as_json, csv_path, plots, annotate, limits, smooth_s, transcribes
            )
            rejected = predict_all(jobs, recognizer.labels, outputs, process)
    if rejected == len(jobs):
        return EXIT_FAILURE
    return EXIT_PARTIAL if rejected else EXIT_OK


def _require_same_preparation(
    given: PredictInputs,
    text: str | None,
    transcriber_name: str | None,
    written: dict[str, Path | None],
) -> None:
    """Raises click.UsageError if inputs and options exclude each other."""
    num_files, annotate = len(given.files), written["--annotate"]
    if text is not None and num_files > 1:
        raise click.UsageError(f"--text is what is said in one input, there are {num_files}")
    if given.texts and (text is not None or annotate is not None):
        raise click.UsageError(
            f"--text and --annotate are for recordings, {given.texts[0]} holds words"
        )
    if text is not None and transcriber_name is not None:
        raise click.UsageError("--text and --transcriber exclude each other")
    if annotate is not None and num_files != 1:
        raise click.UsageError(f"--annotate takes one input, there are {num_files}")
    require_distinct_paths(written, given.files)


def _prediction_jobs(
    given: PredictInputs, recognizer: Any, options: PredictOptions
) -> list[PredictionJob]:
    """All prediction jobs; prints one line about ignored files of folders."""
    if "text" not in recognizer.streams and given.recordings:
        given.skip_unnamed_texts()
    if line := format_suffix_counts(given.ignored_suffixes):
        progress.print_message(f"passed over: {line}")
    jobs = [rejected_job(rejected) for rejected in given.rejected]
    for path in given.files:
        jobs += prediction_jobs(path, given.names.get(path, ""), recognizer, options)
    if not given.files and options.text is not None:
        call = functools.partial(recognizer.predict_text, options.text)
        jobs.append((Path("text"), "text", call))
    return jobs


def _plots(plot: Path | None, given: PredictInputs, csv_path: Path | None) -> dict[Path, Path]:
    """File of each recording's time line; empty without --plot."""
    if plot is None:
        return {}
    if len(given.files) <= 1:
        return dict.fromkeys([*given.files, Path("text")], plot)
    others = [csv_path] if csv_path is not None else []
    return timeline_paths(plot, given.recordings, [*given.files, *others])


@contextlib.contextmanager
def _process(
    is_guarded: bool, timeout_s: float, memory_limit_gb: float
) -> Iterator[IsolatedWorker | None]:
    """The process that reads recordings; it starts while the model loads."""
    if not is_guarded:
        yield None
        return
    from affectstream.serving.inference.isolated_reader import start_reader_process

    with start_reader_process(TaskLimits(timeout_s, memory_limit_gb * 2**30)) as process:
        yield process


def _loaded(
    model: Path, weights_dir: Path | None, detector: str | None, reader: IsolatedWorker | None
) -> Any:
    from affectstream.serving.loading import load

    return load(model, weights_dir, detector, reader)


def _transcriber(transcriber_name: str | None, language: str) -> CachedTranscriber | None:
    """The transcriber with its cache, checked before any recording is opened."""
    if transcriber_name is None:
        return None
    from affectstream.preprocessing.speech_to_text.transcript_cache import CachedTranscriber

    transcriber = CachedTranscriber(transcriber_name, language)
    transcriber.check()
    return transcriber
