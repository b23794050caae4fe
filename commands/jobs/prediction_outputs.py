"""Runs prediction jobs and writes the requested outputs: lines, a table, time lines, a video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectstream.commands.jobs.prediction_jobs import PredictionJob
from affectstream.commands.reports.prediction_report import plot_timeline, print_prediction
from affectstream.core import atomic_io, progress
from affectstream.core.errors import MediaError

if TYPE_CHECKING:
    from affectstream.parallel.isolated_worker import IsolatedWorker

COVERAGES = ("face_coverage", "sound_coverage", "speech_share", "known_word_share")


@dataclass(frozen=True)
class PredictOutputs:
    """Outputs of predictions; None disables an output.

    Attributes:
      plots: file -> path of its time line; empty for none.
      limits: smallest probability, smallest share of speech and smallest share of known words for a
        reported prediction; None reports every prediction.
      smooth_s: length of the moving average over windows; None disables smoothing.
      transcribes: whether there are transcripts to write.
    """

    as_json: bool
    csv: Path | None
    plots: Mapping[Path, Path]
    annotate: Path | None
    limits: tuple[float | None, float | None, float | None]
    smooth_s: float | None
    transcribes: bool

    @property
    def may_abstain(self) -> bool:
        return any(limit is not None for limit in self.limits)

    def postprocess(self, answer: Any) -> Any:
        """The prediction with the requested smoothing and abstention."""
        from affectstream.serving.inference.prediction import with_abstention
        from affectstream.serving.inference.smoothing import smoothed

        if self.smooth_s is not None:
            answer = smoothed(answer, self.smooth_s)
        return with_abstention(answer, *self.limits) if self.may_abstain else answer


def predict_all(
    jobs: list[PredictionJob],
    labels: tuple[str, ...],
    outputs: PredictOutputs,
    process: IsolatedWorker | None,
) -> int:
    """Predicts and writes; returns the number of rejected inputs."""
    rows: list[dict[str, Any]] = []
    rejected = 0
    try:
        for path, name, ask in progress.track(jobs, len(jobs), "predict", "file"):
            try:
                answer = outputs.postprocess(ask())
                if outputs.annotate is not None:
                    _annotate(path, answer, outputs.annotate, process)
            except MediaError as error:
                rejected += 1
                _report_rejected(name, error, outputs.as_json)
                continue
            print_prediction(answer, outputs.as_json)
            rows += csv_rows(answer)
            if outputs.plots:
                _plot_one(path, answer, labels, outputs)
    finally:  # after an interruption, finished predictions are still written
        if outputs.csv is not None:
            abstained = ["abstained"] if outputs.may_abstain else []
            transcript = ["transcript"] if outputs.transcribes else []
            columns = ["path", "start_s", "end_s", "label", *abstained, *COVERAGES, "streams"]
            atomic_io.write_csv(outputs.csv, [*columns, *transcript, *labels], rows)
    return rejected


def _annotate(path: Path, answer: Any, out: Path, process: IsolatedWorker | None) -> None:
    from affectstream.serving.inference.annotate import annotate
    from affectstream.serving.inference.isolated_reader import annotate_isolated

    if process is None:
        annotate(path, answer, out)
    else:
        annotate_isolated(process, path, answer, out)


def _plot_one(path: Path, answer: Any, labels: tuple[str, ...], outputs: PredictOutputs) -> None:
    if not answer.duration_s:
        progress.print_message(
            f"  warning: {answer.path}: words have no time line; nothing is drawn"
        )
        return
    plot_timeline(answer, labels, outputs.plots[path])


def _report_rejected(name: str, error: Exception, as_json: bool) -> None:
    if as_json:
        progress.print_result(json.dumps({"path": name, "error": str(error)}))
    progress.print_message(f"rejected {error}")


def csv_rows(answer: Any) -> list[dict[str, Any]]:
    rows = []
    for window in answer.as_json()["windows"]:
        probabilities = window.pop("probabilities")
        window["streams"] = "+".join(window["streams"])
        if "abstained" in window:
            window["abstained"] = "true" if window["abstained"] else "false"
        rows.append({"path": answer.path, **window, **probabilities})
    return rows
