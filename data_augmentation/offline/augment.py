"""`augment`: a data folder -> another one with transformed copies of its training clips."""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, progress, storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.data_augmentation.offline.augment_settings import AugmentSettings
from affectstream.data_augmentation.offline.augmenter import AugmentedCopy, Augmenter
from affectstream.data_augmentation.offline.examples import is_up_to_date, write_examples
from affectstream.data_augmentation.offline.text_augmenter import RejectedTranslation
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, Splits
from affectstream.preprocessing.dataset.splits import add_augmented_copies
from affectstream.preprocessing.records.record import ShardWriter, damaged_shard, read_records
from affectstream.preprocessing.records.shard_index import ShardIndex

EXAMPLES = "examples"
COPIES_MARK = "-copies"
# Paraphrases that the translator refused.
UNTRANSLATED_FILE = "untranslated.csv"


@dataclass(frozen=True)
class AugmentResult:
    """Result of a run.

    Attributes:
      num_clips: records of the source, all copied unchanged.
      num_source_clips: training clips that have copies.
      num_copies: transformed copies in the folder.
      num_unchanged: copies not written because no draw or translation changed the clip.
      num_rejected_translations: paraphrases that the translator refused, listed in
        `untranslated.csv`.
      num_new_copies: copies made in this run; the others existed before.
      splits: of the new folder.
      synthetic: the clips are.
    """

    num_clips: int
    num_source_clips: int
    num_copies: int
    num_unchanged: int
    num_rejected_translations: int
    num_new_copies: int
    splits: Splits
    synthetic: bool


def augment(
    source: DataFolder, out: Path, settings: AugmentSettings, num_examples: int = 8
) -> AugmentResult:
    """Writes a data folder with all clips of `source` and copies of its training clips.

    A copy keeps label, speaker and recording of its clip and is only in the training split. It
    depends on (seed, copy number, record id). Audio and video are transformed independently, so lip
    movements of a copy need not match its speech. A copy with another text has neither audio nor
    video. A further run after an interruption makes only what is missing; each text is translated
    once.

    Args:
      source: the clips, prepared and split.
      out: the folder to write or complete.
      num_examples: number of clips with example files in `out/examples`.
    Raises:
      UserError: nothing to copy, an occupied `out`, a damaged shard, or `out` cannot be written.
      TranslatorUnavailableError: the translator is not available.
    """
    augmenter = settings.augmenter(source)
    chosen = _clips_to_copy(source, augmenter)
    _open_out(source, out, settings)
    shards, new_shards = _complete_shards(source, out, chosen, augmenter, settings.copies)
    copies = [row for shard in shards for row in shard.rows]
    refused = [one for shard in shards for one in shard.rejected]
    rows = sorted([*source.rows, *copies], key=lambda row: row.id)
    splits = add_augmented_copies([row for row in rows if not row.excluded], source.splits)
    shown = chosen[:num_examples]
    if new_shards or not is_up_to_date(out / EXAMPLES, shown):
        write_examples(out / EXAMPLES, source, shown, augmenter, settings.copies, copies)
    rejected = source.path / data_folder.REJECTED_FILE
    if rejected.is_file():
        atomic_io.write_text(out / data_folder.REJECTED_FILE, rejected.read_text(encoding="utf-8"))
    _write_refused(out, refused)
    data_folder.write_rows(out, rows)
    data_folder.write_splits(out, splits)
    return AugmentResult(
        num_clips=len(source.rows),
        num_source_clips=len({row.copy_of for row in copies}),
        num_copies=len(copies),
        num_unchanged=sum(augmenter.max_num_copies(row, settings.copies) for row in chosen)
        - len(copies)
        - len(refused),
        num_rejected_translations=len(refused),
        num_new_copies=sum(len(shard.rows) for shard in new_shards),
        splits=splits,
        synthetic=source.synthetic,
    )


def _clips_to_copy(source: DataFolder, augmenter: Augmenter) -> list[ClipRow]:
    """Training clips that have a stream which the transforms change."""
    if any(row.copy_of for row in source.rows):
        origin = source.settings.get("augmented_from", "the folder it was made from")
        raise UserError(f"{source.path}: holds copies already; augment {origin} instead")
    if source.action_units is not None and "video" in augmenter.streams:
        raise UserError(
            f"{source.path}: holds action units, which face transforms cannot change; name those"
            " of sound only, for one --transforms noise,speed,time_shift"
        )
    train = source.subset("train")
    if not train:
        notes = f" ({'; '.join(source.splits.notes)})" if source.splits.notes else ""
        raise UserError(f"{source.path}: no training clip to copy{notes}; see `split`")
    chosen = [row for row in train if set(row.streams) & set(augmenter.streams)]
    if not chosen:
        raise UserError(
            f"{source.path}: the transforms change {' and '.join(augmenter.streams)}, which no"
            " training clip has; choose other --transforms"
        )
    return chosen


def _open_out(source: DataFolder, out: Path, settings: AugmentSettings) -> None:
    """Makes `out`, or makes sure that it was begun with the same settings."""
    wanted = {
        **source.settings,
        "augmented_from": str(source.path.resolve()),
        **settings.as_json(),
    }
    file = out / data_folder.SETTINGS_FILE
    if out.resolve() == source.path.resolve():
        raise UserError(f"{out}: --out must differ from --data; nothing is changed in place")
    try:
        atomic_io.remove_stale_temporaries(out)
        if file.is_file():
            present = data_folder.read_settings(out)
            keys = sorted({*present, *wanted})
            differing = [key for key in keys if present.get(key) != wanted.get(key)]
            if differing:
                differences = [
                    f"{key}: {present.get(key)} there, {wanted.get(key)} now" for key in differing
                ]
                raise UserError(
                    f"{out}: written otherwise ({'; '.join(differences)}); choose another --out"
                )
        elif out.exists() and any(out.iterdir()):
            raise UserError(f"{out}: holds other files; choose an empty or new folder as --out")
        storage_paths.make_folder(out / data_folder.SHARDS_FOLDER)
    except OSError as error:
        raise from_os_error(error, out) from error
    data_folder.write_settings(out, wanted)
    atomic_io.remove_stale_temporaries(out / data_folder.SHARDS_FOLDER)


def _write_refused(out: Path, refused: Sequence[dict[str, str]]) -> None:
    """Lists what was not translated; without any there is no list."""
    if refused:
        columns = [field.name for field in fields(RejectedTranslation)]
        atomic_io.write_csv(out / UNTRANSLATED_FILE, columns, refused)
    else:
        (out / UNTRANSLATED_FILE).unlink(missing_ok=True)


# === Shards ===


def _complete_shards(
    source: DataFolder, out: Path, chosen: Sequence[ClipRow], augmenter: Augmenter, num_copies: int
) -> tuple[list[ShardIndex], list[ShardIndex]]:
    """Writes the shards that are missing; removes those of an earlier state of the source.

    Returns:
      all shards; those written now.
    """
    members: dict[str, list[ClipRow]] = defaultdict(list)
    for row in chosen:
        members[row.shard].append(row)
    names = sorted({row.shard for row in source.rows})
    held_out = sorted(augmenter.texts.held_out) if "text" in augmenter.streams else []
    states = {name: _state(source, name, members[name], held_out) for name in names}
    kept = {name: _kept(out, name, states[name]) for name in names}
    done = {name: shard for name, shard in kept.items() if shard is not None}
    missing = {name: members[name] for name in names if name not in done}
    if missing:
        (out / data_folder.CLIPS_FILE).unlink(missing_ok=True)
        total = sum(
            augmenter.max_num_copies(row, num_copies) for rows in missing.values() for row in rows
        )
        with progress.bar(total, "augment", "copy") as bar:
            for name, rows in missing.items():
                result = _make(source, out, name, rows, augmenter, num_copies, bar)
                done[name] = dataclasses.replace(result, inputs={name: states[name]})
                done[name].write(_index(out, name))
    _remove_others(out, done)
    return list(done.values()), [done[name] for name in missing]


def _remove_others(out: Path, shards: dict[str, ShardIndex]) -> None:
    """Removes what an earlier state of the source left."""
    wanted = {file for shard in shards.values() for file in shard.files}
    wanted |= {_index(out, name).name for name in shards}
    for path in (out / data_folder.SHARDS_FOLDER).iterdir():
        if path.name not in wanted:
            path.unlink()


def _make(
    source: DataFolder,
    out: Path,
    name: str,
    members: Sequence[ClipRow],
    augmenter: Augmenter,
    num_copies: int,
    bar: Any,
) -> ShardIndex:
    shards = out / data_folder.SHARDS_FOLDER
    original = source.path / data_folder.SHARDS_FOLDER / name
    with (
        atomic_io.atomic_write(shards / name) as temporary,
        storage_paths.open_binary(original) as file,
        open(temporary, "wb") as copy,
    ):
        shutil.copyfileobj(file, copy, 1 << 20)
    files = {name: (original.stat().st_size, atomic_io.file_sha256(shards / name))}
    if not members:
        return ShardIndex(files, {})
    copies_name = f"{Path(name).stem}{COPIES_MARK}{Path(name).suffix}"
    rows, refused = [], []
    by_id = {row.id: row for row in members}
    num_read = 0
    with (
        atomic_io.atomic_write(shards / copies_name) as temporary,
        ShardWriter(temporary) as writer,
    ):
        for record in read_records(original, by_id):
            num_read += 1
            for made in augmenter.copies(record, by_id[record.id], num_copies):
                bar.update()
                if isinstance(made, AugmentedCopy):
                    writer.write(made.record)
                    rows.append(made.row(by_id[record.id], copies_name))
                elif made is not None:
                    refused.append(dataclasses.asdict(made))
    if num_read != len(members):
        raise damaged_shard(original)
    files[copies_name] = (writer.num_bytes, writer.sha256)
    return ShardIndex(files, {}, rows, refused)


def _state(
    source: DataFolder, name: str, members: Sequence[ClipRow], held_out: Sequence[str]
) -> str:
    """Fingerprint of the inputs, besides the settings, that the output shards depend on."""
    path = source.path / data_folder.SHARDS_FOLDER / name
    try:
        stat = path.stat()
    except OSError as error:
        raise damaged_shard(path) from error
    cells = [row.as_cells() for row in members]
    return atomic_io.digest([stat.st_size, stat.st_mtime_ns, cells, *held_out])


def _kept(out: Path, name: str, state: str) -> ShardIndex | None:
    """Outputs of an earlier run for a shard, if they are complete and still valid."""
    if not _index(out, name).is_file():
        return None
    index = ShardIndex.read(_index(out, name))
    if index is None or index.inputs != {name: state}:
        progress.print_message(
            f"{out / data_folder.SHARDS_FOLDER / name}: its source or itself changed; made anew"
        )
        return None
    return index


def _index(out: Path, name: str) -> Path:
    return (out / data_folder.SHARDS_FOLDER / name).with_suffix(".json")
