"""The job of one shard: one process prepares and writes its clips."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from affectstream.core import atomic_io, progress
from affectstream.core.errors import MediaError, UserError
from affectstream.parallel import tasks
from affectstream.parallel.tasks import MAX_DEATHS, Engine, ReportStep, TaskLimits, WorkerDied
from affectstream.preprocessing.clip import Clip, Rejection
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.faces.action_units import ActionUnitTrack
from affectstream.preprocessing.records.fingerprints import input_fingerprints
from affectstream.preprocessing.records.record import Record, ShardWriter
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.records.shard_index import ShardIndex

# Stands for the clip key if a process died before its first clip.
BEFORE_CLIPS = ""


@dataclass(frozen=True)
class ShardJob:
    """The work on one shard with all its inputs; it can be sent to a process on any machine.

    Attributes:
      shards_dir: folder of the shard.
      number: shard number.
      run_id: identifies the run of `preprocess`; a process keeps its detector open during a run.
      tracks: action units of a table, for these clips.
      exit_reasons: clip key -> reasons why its process died, one per attempt.
    """

    shards_dir: Path
    number: int
    clips: tuple[Clip, ...]
    settings: RecordSettings
    weights_dir: Path | None
    run_id: str = ""
    tracks: Mapping[str, ActionUnitTrack] = field(default_factory=dict)
    exit_reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def after_worker_died(self, died: WorkerDied) -> ShardJob:
        """The same job for the next attempt; a clip that repeatedly kills its process is skipped.

        Raises:
          UserError: the process died before its first clip in every attempt.
        """
        key = BEFORE_CLIPS if died.step is None else self.clips[died.step].key
        if died.step is None and len(self.exit_reasons.get(key, ())) + 1 >= MAX_DEATHS:
            raise UserError(
                f"a process that should read recordings {died.reason}, {MAX_DEATHS} times, before"
                " it read one; take fewer --workers, or a larger --memory-limit-gb"
            )
        known = {**self.exit_reasons, key: (*self.exit_reasons.get(key, ()), died.reason)}
        return dataclasses.replace(self, exit_reasons=known)


def run_shard_jobs(
    engine: Engine, jobs: Iterable[ShardJob], limits: TaskLimits, num_clips: int | None = None
) -> list[ShardIndex]:
    """All finished shards, in order of completion."""
    shards: list[ShardIndex] = []
    num_done = 0
    with (
        engine.open(write_shard, limits) as pool,
        progress.bar(num_clips, "preprocess", "clip") as bar,
    ):
        ended = tasks.run(
            pool,
            jobs,
            ShardJob.after_worker_died,
            lambda steps: progress.update_to(bar, num_done + steps),
        )
        for job, shard in ended:
            _require_here(job, shard)
            shards.append(shard)
            num_done += len(job.clips)
            progress.update_to(bar, num_done)
    return shards


def _require_here(job: ShardJob, shard: ShardIndex) -> None:
    """Checks that a shard written by a worker is visible on this machine.

    Raises:
      UserError: it was written to another machine's disk.
    """
    file = job.shards_dir / shard.name
    if not file.is_file() or file.stat().st_size != shard.files[shard.name][0]:
        raise UserError(
            f"{file}: written on another machine and not seen on this one; --out must be a folder"
            " that all machines share"
        )


def write_shard(job: ShardJob, report_step: ReportStep) -> ShardIndex:
    """Writes a shard and its index; the bytes do not depend on the engine.

    Raises:
      UserError: the shard cannot be written, or weights are missing or wrong.
    """
    cv2.setNumThreads(1)
    preparer = _preparer(job.run_id, job.settings, job.weights_dir)
    path = job.shards_dir / f"{job.number:05d}.tfrecord"
    rows: list[ClipRow] = []
    rejected: list[Rejection] = []
    with atomic_io.atomic_write(path) as temporary, ShardWriter(temporary) as writer:
        for place, clip in enumerate(job.clips):
            clip_rows: list[ClipRow] = []
            for result in _results(preparer, job, clip, functools.partial(report_step, place)):
                if isinstance(result, Rejection):
                    rejected.append(result)
                    clip_rows.clear()
                else:
                    writer.write(result)
                    clip_rows.append(result.row(path.name))
            rows += clip_rows
    shard = ShardIndex(
        files={path.name: (writer.num_bytes, writer.sha256)},
        inputs=input_fingerprints(job.clips, job.tracks),
        rows=rows,
        rejected=[dataclasses.asdict(one) for one in rejected],
    )
    shard.write(path.with_suffix(".json"))
    return shard


@functools.lru_cache(1)
def _preparer(run_id: str, settings: RecordSettings, weights_dir: Path | None) -> RecordBuilder:
    """Kept for all shards of one run, because opening a detector takes time."""
    return RecordBuilder(settings, weights_dir)


def _results(
    preparer: RecordBuilder, job: ShardJob, clip: Clip, report_step: Callable[[], None]
) -> Iterator[Record | Rejection]:
    """Yields the records of one clip; a `Rejection` of its file invalidates the earlier ones.

    After a rejection, the records of the recording's next file follow. Each record is one step, so
    that the time limit applies to a record and not to a recording.
    """
    track, exit_reasons = job.tracks.get(clip.key), job.exit_reasons.get(clip.key, ())
    files = (clip, *clip.others)
    num_deadly = len(exit_reasons) // MAX_DEATHS
    for number, file in enumerate(files):
        if number < num_deadly:
            died = exit_reasons[(number + 1) * MAX_DEATHS - 1]
            yield _rejected(file, _deadly(file, died), files[number + 1 :])
            continue
        report_step()
        try:
            for record in preparer.records(file, track):
                yield record
                report_step()
        except MediaError as error:
            yield _rejected(file, str(error), files[number + 1 :])
        else:
            return


def _deadly(clip: Clip, reason: str) -> str:
    remedy = "leave it out"
    if reason.startswith(("took", "needs")):  # a resource limit: remembered until --overwrite
        remedy += ", or --overwrite with a larger --timeout-s or --memory-limit-gb"
    return f"{clip.name}: {reason}, {MAX_DEATHS} times; {remedy}"


def _rejected(file: Clip, reason: str, others: Sequence[Clip]) -> Rejection:
    """The rejection of a file; names the file of the same recording that is read instead."""
    if others:
        reason += f"; read in its place: {others[0].name}"
    return Rejection(file.key, reason)
