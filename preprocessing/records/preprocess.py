"""`preprocess`: a corpus folder -> a data folder; a further run prepares only what is missing."""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, progress, registry, storage_paths
from affectstream.core.errors import UserError
from affectstream.parallel.serial import SerialEngine
from affectstream.parallel.tasks import Engine, TaskLimits
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import ClipRow, Splits
from affectstream.preprocessing.dataset.duplicates import DuplicateReport, mark_duplicates
from affectstream.preprocessing.dataset.splits import DEFAULT_RULE, make_splits
from affectstream.preprocessing.faces.action_units import ActionUnitTable, ActionUnitTrack
from affectstream.preprocessing.records.fingerprints import input_fingerprints
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.records.settings_check import (
    folder_settings,
    require_same_settings,
    with_resolved_name,
)
from affectstream.preprocessing.records.shard_index import ShardIndex
from affectstream.preprocessing.records.shard_job import ShardJob, run_shard_jobs
from affectstream.preprocessing.records.sharding import group_into_shards

# A record of ten seconds takes one or two seconds and half a gigabyte of memory.
LIMITS = TaskLimits(step_timeout_s=300, memory_bytes=4 * 2**30)


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of a run; settings that change the records are in `RecordSettings`.

    Attributes:
      weights_dir: folder of the weights of detectors and blendshapes; None uses the cache.
      engine: runs the workers that read the clips.
      overwrite: discard all earlier contents of the data folder.
      table: action units that become the video stream, with the names in
        `RecordSettings.action_units`.
      limits: limits of a process for one record; a clip that exceeds them twice is rejected.
    """

    weights_dir: Path | None = None
    engine: Engine = field(default_factory=SerialEngine)
    overwrite: bool = False
    table: ActionUnitTable | None = None
    limits: TaskLimits = LIMITS


@dataclass(frozen=True)
class PreprocessResult:
    """Result of a run.

    Attributes:
      num_prepared: clips decoded in this run; the others were prepared before.
      skipped: counts by reason of files that the corpus excludes on purpose.
      ignored_suffixes: counts by suffix of files that the corpus does not read.
      clips_without_action_units: clips without a row in the table; they have no video stream.
    """

    rows: tuple[ClipRow, ...]
    rejected: tuple[Rejection, ...]
    splits: Splits
    duplicates: DuplicateReport
    skipped: Counter[str]
    num_prepared: int
    clips_without_action_units: tuple[str, ...] = ()
    ignored_suffixes: Counter[str] = field(default_factory=Counter)


def preprocess(
    corpus: Corpus | str,
    source: Path,
    out: Path,
    settings: RecordSettings,
    options: PreprocessOptions = PreprocessOptions(),
) -> PreprocessResult:
    """Prepares a corpus: decodes, detects faces, writes records, tables and splits.

    Args:
      corpus: entry of `registry.TABLE["corpora"]`, or such a corpus with its own options.
      source: folder, archive or table, as required by that corpus.
      out: data folder, created or completed.
    Raises:
      UserError: nothing could be prepared; nothing already written is lost.
    """
    named: Corpus = registry.load("corpora", corpus) if isinstance(corpus, str) else corpus
    corpus = with_resolved_name(named, source, out, options.overwrite)
    corpus_index: CorpusIndex = corpus.build_index(source)
    tracks: Mapping[str, ActionUnitTrack] = {}
    if options.table is not None:
        tracks = options.table.join(corpus_index.clips, corpus.recording_pattern)
    _open_out(out, corpus, settings, options.overwrite)
    kept, missing = _what_is_missing(out, corpus_index.clips, tracks)
    if missing:
        shards_dir = out / data_folder.SHARDS_FOLDER
        first = ShardJob(shards_dir, 0, (), settings, options.weights_dir, uuid.uuid4().hex)
        jobs = _shard_jobs(first, corpus_index.clips, missing, kept, tracks)
        RecordBuilder(settings, options.weights_dir)  # fetches weights once, before workers start
        try:
            kept += run_shard_jobs(options.engine, jobs, options.limits, len(missing))
        finally:
            atomic_io.remove_stale_temporaries(shards_dir)
    kept.sort(key=lambda shard: shard.name)
    result = _write_tables(out, corpus, corpus_index, kept, len(missing))
    clips = corpus_index.clips if options.table is not None else ()
    without = tuple(clip.name for clip in clips if clip.key not in tracks)
    return dataclasses.replace(result, clips_without_action_units=without)


def _open_out(out: Path, corpus: Corpus, settings: RecordSettings, overwrite: bool) -> None:
    wanted = folder_settings(corpus, settings)
    shards = out / data_folder.SHARDS_FOLDER
    if overwrite and (out / data_folder.SETTINGS_FILE).is_file():
        for name in (data_folder.CLIPS_FILE, data_folder.SPLITS_FILE, data_folder.REJECTED_FILE):
            (out / name).unlink(missing_ok=True)
        storage_paths.remove_tree(shards)
    elif not overwrite:
        require_same_settings(out, wanted)
    data_folder.write_settings(out, wanted)
    storage_paths.make_folder(shards)
    for folder in (out, shards):
        atomic_io.remove_stale_temporaries(folder)


# === Shards ===


def _what_is_missing(
    out: Path, clips: Sequence[Clip], tracks: Mapping[str, ActionUnitTrack]
) -> tuple[list[ShardIndex], list[Clip]]:
    """Complete shards with unchanged inputs, and the clips that are in none of them."""
    states = input_fingerprints(clips, tracks)
    kept = []
    covered: set[str] = set()
    for path in sorted((out / data_folder.SHARDS_FOLDER).glob("*.json")):
        shard = ShardIndex.read(path)
        if shard is not None and all(states.get(key) == held for key, held in shard.inputs.items()):
            kept.append(shard)
            covered.update(shard.inputs)
        else:
            progress.print_message(
                f"{path.with_suffix('.tfrecord')}: the shard or its inputs changed; written again"
            )
            path.unlink()
    # Removes shards of a run that was killed before it wrote the index.
    for file in (out / data_folder.SHARDS_FOLDER).glob("*.tfrecord"):
        if not file.with_suffix(".json").is_file():
            file.unlink()
    return kept, [clip for clip in clips if clip.key not in covered]


def _shard_jobs(
    template: ShardJob,
    every: Sequence[Clip],
    missing: Sequence[Clip],
    kept: Sequence[ShardIndex],
    tracks: Mapping[str, ActionUnitTrack],
) -> Iterator[ShardJob]:
    """Yields a job for each missing shard, with an unused shard number."""
    numbers = _free_numbers(kept)
    wanted = {clip.key for clip in missing}
    for shard in group_into_shards(every):
        clips = tuple(clip for clip in shard if clip.key in wanted)
        if clips:
            shard_tracks = {clip.key: tracks[clip.key] for clip in clips if clip.key in tracks}
            yield dataclasses.replace(
                template, number=next(numbers), clips=clips, tracks=shard_tracks
            )


def _free_numbers(kept: Sequence[ShardIndex]) -> Iterator[int]:
    taken = {int(Path(shard.name).stem) for shard in kept}
    return (number for number in itertools.count() if number not in taken)


# === Tables ===


def _write_tables(
    out: Path,
    corpus: Corpus,
    corpus_index: CorpusIndex,
    shards: list[ShardIndex],
    num_prepared: int,
) -> PreprocessResult:
    rows = sorted((row for shard in shards for row in shard.rows), key=lambda row: row.id)
    rejected = list(corpus_index.rejected)
    rejected += [Rejection(**fields) for shard in shards for fields in shard.rejected]
    rejected.sort(key=lambda rejection: rejection.path)
    atomic_io.write_csv(
        out / data_folder.REJECTED_FILE, ("path", "reason"), map(dataclasses.asdict, rejected)
    )
    if not rows:
        first = f"; first: {rejected[0].reason}" if rejected else ""
        raise UserError(f"no recording could be used, see {out / data_folder.REJECTED_FILE}{first}")
    marked, duplicates = mark_duplicates(rows, corpus.official_split)
    data_folder.write_rows(out, marked)
    splits = make_splits(marked, _rule(out, marked))
    data_folder.write_splits(out, splits)
    return PreprocessResult(
        marked,
        tuple(rejected),
        splits,
        duplicates,
        corpus_index.skipped,
        num_prepared,
        ignored_suffixes=corpus_index.ignored_suffixes,
    )


def _rule(out: Path, rows: Sequence[ClipRow]) -> dict[str, Any]:
    """The split rule that the user chose before, if the data still allow it."""
    if not (out / data_folder.SPLITS_FILE).is_file():
        return DEFAULT_RULE
    try:
        rule = data_folder.read_splits(out).rule
        make_splits(rows, rule)
    except UserError as error:
        progress.print_message(
            f"{out / data_folder.SPLITS_FILE}: {error}; split by the default rule instead"
        )
        return DEFAULT_RULE
    return rule
