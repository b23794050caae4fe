"""`preprocess`: a corpus folder -> a data folder; run again, it does only what is missing."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import progress
import registry
import storage
from errors import UserError
from preprocessing import data_folder
from preprocessing.action_units import ActionUnitTable, ActionUnitTrack, file_name_pattern
from preprocessing.clip import Clip, Inventory, Rejection
from preprocessing.data_folder import ClipRow, Splits
from preprocessing.duplicates import DuplicateReport, mark_duplicates
from preprocessing.input_states import input_states
from preprocessing.preparation import PreparationSettings
from preprocessing.records import Record, ShardWriter
from preprocessing.same_settings import require_same, settings_of
from preprocessing.splits import DEFAULT_RULE, make_splits
from preprocessing.stills import is_still
from preprocessing.workers import prepare_clips

CLIPS_A_SHARD = 64
STILLS_A_SHARD = 2048


@dataclass(frozen=True)
class PreprocessResult:
    """What was done.

    Attributes:
      num_prepared: clips decoded in this run; the others were there already.
      left_out: counts by reason of what the corpus leaves out on purpose.
      without_row: clips of which a table of action units says nothing; they have no video stream.
    """

    rows: tuple[ClipRow, ...]
    rejected: tuple[Rejection, ...]
    splits: Splits
    duplicates: DuplicateReport
    left_out: Counter[str]
    num_prepared: int
    without_row: tuple[str, ...] = ()


def preprocess(
    corpus: Any,
    source: Path,
    out: Path,
    settings: PreparationSettings,
    weights_dir: Path | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
    table: ActionUnitTable | None = None,
) -> PreprocessResult:
    """Prepares a corpus: decodes, finds faces, writes records, tables and splits.

    Args:
      corpus: row of `registry.TABLE["corpora"]`, or such a corpus with options of its own.
      source: folder, archive or table, as that corpus wants it.
      out: data folder, made or completed.
      overwrite: begin anew whatever `out` holds of an earlier preparation.
      table: action units that become the video stream, with the names of `settings.action_units`.
    Raises:
      UserError: nothing could be done; nothing already written is lost.
    """
    corpus = registry.load("corpora", corpus) if isinstance(corpus, str) else corpus
    inventory: Inventory = corpus.inventory(source)
    if table is not None:
        tracks = table.join(inventory.clips, file_name_pattern(corpus))
        settings = dataclasses.replace(settings, tracks=tracks)
    _open_out(out, corpus, settings, overwrite)
    kept, missing = _what_is_missing(out, inventory.clips, settings.tracks)
    pieces = _pieces(missing)
    numbers = _free_numbers(out, kept)
    with progress.bar(len(missing), "preprocess", "clip") as bar:
        prepared = prepare_clips(
            (clip for piece in pieces for clip in piece),
            settings,
            weights_dir,
            min(num_workers, max(len(missing), 1)),
            out / data_folder.SHARDS,
        )
        try:
            for piece, number in zip(pieces, numbers, strict=False):
                kept.append(_write_shard(out, number, piece, prepared, bar, settings.tracks))
        finally:
            prepared.close()
            storage.remove_leftovers(out / data_folder.SHARDS)
    result = _write_tables(out, corpus, inventory, kept, len(missing))
    clips = inventory.clips if table is not None else ()
    without = tuple(clip.name for clip in clips if clip.key not in settings.tracks)
    return dataclasses.replace(result, without_row=without)


def _open_out(out: Path, corpus: Any, settings: PreparationSettings, overwrite: bool) -> None:
    wanted = settings_of(corpus, settings)
    shards = out / data_folder.SHARDS
    if overwrite and (out / data_folder.SETTINGS).is_file():
        for name in (data_folder.CLIPS, data_folder.SPLITS_FILE, data_folder.REJECTED):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(shards, ignore_errors=True)
    elif not overwrite:
        require_same(out, wanted)
    storage.write_json(out / data_folder.SETTINGS, wanted)
    shards.mkdir(parents=True, exist_ok=True)
    storage.remove_leftovers(shards)


# === Shards ===


@dataclass(frozen=True)
class _Shard:
    """Index of one shard, kept beside it as JSON: written last, so it stands for completeness."""

    name: str
    num_bytes: int
    inputs: dict[str, str]
    rows: list[dict[str, Any]]
    rejected: list[dict[str, str]]


def _what_is_missing(
    out: Path, clips: Sequence[Clip], tracks: Mapping[str, ActionUnitTrack]
) -> tuple[list[_Shard], list[Clip]]:
    """Shards whose every input is unchanged, and the clips that none of them holds."""
    states = input_states(clips, tracks)
    kept = []
    covered: set[str] = set()
    for path in sorted((out / data_folder.SHARDS).glob("*.json")):
        shard = _Shard(**storage.read_json(path))
        file = path.with_name(shard.name)
        whole = file.is_file() and file.stat().st_size == shard.num_bytes
        if whole and all(states.get(key) == state for key, state in shard.inputs.items()):
            kept.append(shard)
            covered.update(shard.inputs)
        else:
            path.unlink()
            file.unlink(missing_ok=True)
    return kept, [clip for clip in clips if clip.key not in covered]


def _pieces(clips: Sequence[Clip]) -> list[list[Clip]]:
    small = bool(clips) and (clips[0].text_only or is_still(clips[0]))
    size = STILLS_A_SHARD if small else CLIPS_A_SHARD
    return [list(clips[i : i + size]) for i in range(0, len(clips), size)]


def _free_numbers(out: Path, kept: Sequence[_Shard]) -> Iterator[int]:
    taken = {int(Path(shard.name).stem) for shard in kept}
    number = 0
    while True:
        if number not in taken:
            yield number
        number += 1


def _write_shard(
    out: Path,
    number: int,
    piece: list[Clip],
    prepared: Any,
    bar: Any,
    tracks: Mapping[str, ActionUnitTrack],
) -> _Shard:
    path = out / data_folder.SHARDS / f"{number:05d}.tfrecord"
    rows: list[ClipRow] = []
    rejected: list[Rejection] = []
    with storage.replacing(path) as temporary, ShardWriter(temporary) as writer:
        for _ in piece:
            clip, results = next(prepared)
            clip_rows: list[ClipRow] = []
            for result in results:
                if isinstance(result, Rejection):
                    rejected.append(result)
                    clip_rows.clear()
                else:
                    writer.write(result)
                    clip_rows.append(_row(result, path.name, clip))
            rows += clip_rows
            bar.update()
    shard = _Shard(
        name=path.name,
        num_bytes=path.stat().st_size,
        inputs=input_states(piece, tracks),
        rows=[row.as_cells() for row in rows],
        rejected=[dataclasses.asdict(rejection) for rejection in rejected],
    )
    storage.write_json(path.with_suffix(".json"), dataclasses.asdict(shard))
    return shard


def _row(record: Record, shard: str, clip: Clip) -> ClipRow:
    return ClipRow(
        id=record.id,
        shard=shard,
        corpus=record.corpus,
        label=record.label,
        speaker=record.speaker,
        recording=record.recording,
        path=clip.key,
        start_s=round(record.start_s, 6),
        end_s=round(record.end_s, 6),
        num_samples=len(record.waveform),
        num_frames=record.num_frames,
        num_faces=int(record.face_mask.sum()),
        audio_hash=record.audio_hash,
        video_hash=record.video_hash,
        transcript=record.transcript,
        split=record.split,
        attributes=record.attributes,
    )


# === Tables ===


def _write_tables(
    out: Path, corpus: Any, inventory: Inventory, shards: list[_Shard], num_prepared: int
) -> PreprocessResult:
    rows = [ClipRow.from_cells(_text(cells)) for shard in shards for cells in shard.rows]
    rows.sort(key=lambda row: row.id)
    rejected = list(inventory.rejected)
    rejected += [Rejection(**cells) for shard in shards for cells in shard.rejected]
    rejected.sort(key=lambda rejection: rejection.path)
    storage.write_csv(
        out / data_folder.REJECTED, ("path", "reason"), map(dataclasses.asdict, rejected)
    )
    if not rows:
        first = f"; first: {rejected[0].reason}" if rejected else ""
        raise UserError(f"no recording could be used, see {out / data_folder.REJECTED}{first}")
    official = getattr(corpus, "official_split", False)
    marked, duplicates = mark_duplicates(rows, official)
    data_folder.write_rows(out, marked)
    splits = make_splits(marked, _rule(out, marked))
    data_folder.write_splits(out, splits)
    return PreprocessResult(
        marked, tuple(rejected), splits, duplicates, inventory.left_out, num_prepared
    )


def _text(cells: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in cells.items()}


def _rule(out: Path, rows: Sequence[ClipRow]) -> dict[str, Any]:
    """The rule that the user chose before, as long as the data still allow it."""
    if not (out / data_folder.SPLITS_FILE).is_file():
        return DEFAULT_RULE
    rule = data_folder.read_splits(out).rule
    try:
        make_splits(rows, rule)
    except UserError as error:
        progress.say(f"{out / data_folder.SPLITS_FILE}: {error}; split by the default rule instead")
        return DEFAULT_RULE
    return rule
