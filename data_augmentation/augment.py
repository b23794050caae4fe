"""`augment`: a data folder -> another one with transformed copies of its training clips."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import progress
import storage
from data_augmentation.copier import Copier
from data_augmentation.examples import shows, write_examples
from errors import UserError, from_os_error
from preprocessing import data_folder
from preprocessing.data_folder import ClipRow, DataFolder, Splits
from preprocessing.records import ShardWriter, damaged_shard, read_records
from preprocessing.splits import with_copies

DEFAULT_TRANSFORMS = (
    "noise,speed,time_stretch,pitch_shift,time_shift,gain,flip,crop_jitter,brightness,cutout"
)
EXAMPLES = "examples"
COPIES_MARK = "-copies"


@dataclass(frozen=True)
class AugmentSettings:
    """Everything that changes the copies; stored in `preprocess.json`.

    Attributes:
      transforms: recipe text, as `data_augmentation.chain.parse_transforms` reads it.
      copies: transformed copies of each training clip.
      seed: of the chance in them.
    """

    transforms: str = DEFAULT_TRANSFORMS
    copies: int = 4
    seed: int = 0


@dataclass(frozen=True)
class AugmentResult:
    """What was done.

    Attributes:
      num_clips: records of the source, all copied as they are.
      num_copied: training clips that have copies.
      num_copies: transformed copies in the folder.
      num_unchanged: copies not written because no draw changed the clip.
      num_made: copies made in this run; the others were there already.
      splits: of the new folder.
      synthetic: the clips are.
    """

    num_clips: int
    num_copied: int
    num_copies: int
    num_unchanged: int
    num_made: int
    splits: Splits
    synthetic: bool


def augment(
    source: DataFolder, out: Path, settings: AugmentSettings, num_examples: int = 8
) -> AugmentResult:
    """Writes a data folder with all clips of `source` and copies of its training clips.

    A copy keeps label, speaker and recording of its clip and stands in the training part only. It
    depends on (seed, copy number, record id). Sound and picture are transformed apart, so speech
    and lips of a copy need not keep time. Run again after an interruption, it does what is missing.

    Args:
      source: the clips, prepared and split.
      out: the folder to write or complete.
      num_examples: clips of which pictures and sounds to open go to `out/examples`.
    Raises:
      UserError: nothing to copy, an occupied `out`, a damaged shard, or `out` cannot be written.
    """
    copier = Copier.parse(settings.transforms, settings.seed)
    chosen = _clips_to_copy(source, copier)
    _open_out(source, out, settings)
    shards = _complete_shards(source, out, chosen, copier, settings.copies)
    copies = [row for shard in shards for row in shard.rows]
    rows = sorted([*source.rows, *copies], key=lambda row: row.id)
    splits = with_copies([row for row in rows if not row.excluded], source.splits)
    shown = chosen[:num_examples]
    if any(shard.made_now for shard in shards) or not shows(out / EXAMPLES, shown):
        write_examples(out / EXAMPLES, source, shown, copier, settings.copies)
    rejected = source.path / data_folder.REJECTED
    if rejected.is_file():
        storage.write_text(out / data_folder.REJECTED, rejected.read_text(encoding="utf-8"))
    data_folder.write_splits(out, splits)
    data_folder.write_rows(out, rows)
    return AugmentResult(
        num_clips=len(source.rows),
        num_copied=len({row.copy_of for row in copies}),
        num_copies=len(copies),
        num_unchanged=len(chosen) * settings.copies - len(copies),
        num_made=sum(len(shard.rows) for shard in shards if shard.made_now),
        splits=splits,
        synthetic=source.synthetic,
    )


def _clips_to_copy(source: DataFolder, copier: Copier) -> list[ClipRow]:
    """Training clips that have a stream which the transforms change."""
    if any(row.copy_of for row in source.rows):
        origin = source.settings.get("augmented_from", "the folder it was made from")
        raise UserError(f"{source.path}: holds copies already; augment {origin} instead")
    if source.action_units is not None and "video" in copier.streams:
        raise UserError(
            f"{source.path}: holds action units, which face transforms cannot change; name those"
            " of sound only, for one --transforms noise,speed,time_shift"
        )
    train = source.part("train")
    if not train:
        notes = f" ({'; '.join(source.splits.notes)})" if source.splits.notes else ""
        raise UserError(f"{source.path}: no training clip to copy{notes}; see `split`")
    chosen = [row for row in train if set(row.streams) & set(copier.streams)]
    if not chosen:
        raise UserError(
            f"{source.path}: the transforms change {' and '.join(copier.streams)}, which no"
            " training clip has; choose other --transforms"
        )
    return chosen


def _open_out(source: DataFolder, out: Path, settings: AugmentSettings) -> None:
    """Makes `out`, or makes sure that it was begun with the same settings."""
    wanted = {
        **source.settings,
        "augmented_from": str(source.path.resolve()),
        **asdict(settings),
    }
    file = out / data_folder.SETTINGS
    if out.resolve() == source.path.resolve():
        raise UserError(f"{out}: --out must differ from --data; nothing is changed in place")
    try:
        if file.is_file():
            present = storage.read_json(file)
            keys = sorted({*present, *wanted})
            differing = [key for key in keys if present.get(key) != wanted.get(key)]
            if differing:
                told = [
                    f"{key}: {present.get(key)} there, {wanted.get(key)} now" for key in differing
                ]
                raise UserError(
                    f"{out}: written otherwise ({'; '.join(told)}); choose another --out"
                )
        elif out.exists() and any(out.iterdir()):
            raise UserError(f"{out}: holds other files; choose an empty or new folder as --out")
        (out / data_folder.SHARDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, out) from error
    storage.write_json(file, wanted)
    storage.remove_leftovers(out)
    storage.remove_leftovers(out / data_folder.SHARDS)


# === Shards ===


@dataclass(frozen=True)
class _Shard:
    """What came of one shard of the source: the shard itself, and one of its copies, if any."""

    files: tuple[str, ...]
    rows: tuple[ClipRow, ...]
    made_now: bool


def _complete_shards(
    source: DataFolder, out: Path, chosen: Sequence[ClipRow], copier: Copier, num_copies: int
) -> list[_Shard]:
    """Writes the shards that are missing; removes those of an earlier state of the source."""
    members: dict[str, list[ClipRow]] = defaultdict(list)
    for row in chosen:
        members[row.shard].append(row)
    names = sorted({row.shard for row in source.rows})
    states = {name: _state(source, name, members[name]) for name in names}
    kept = {name: _kept(out, name, states[name]) for name in names}
    done = {name: shard for name, shard in kept.items() if shard is not None}
    missing = {name: members[name] for name in names if name not in done}
    if missing:
        (out / data_folder.CLIPS).unlink(missing_ok=True)
        total = sum(map(len, missing.values())) * num_copies
        with progress.bar(total, "augment", "copy") as bar:
            for name, rows in missing.items():
                done[name] = _make(source, out, name, rows, copier, num_copies, bar)
                _write_index(out, name, states[name], done[name])
    _remove_others(out, done)
    return list(done.values())


def _remove_others(out: Path, shards: dict[str, _Shard]) -> None:
    """Removes what an earlier state of the source left."""
    wanted = {file for shard in shards.values() for file in shard.files}
    wanted |= {_index(out, name).name for name in shards}
    for path in (out / data_folder.SHARDS).iterdir():
        if path.name not in wanted:
            path.unlink()


def _make(
    source: DataFolder,
    out: Path,
    name: str,
    members: Sequence[ClipRow],
    copier: Copier,
    num_copies: int,
    bar: Any,
) -> _Shard:
    shards = out / data_folder.SHARDS
    original = source.path / data_folder.SHARDS / name
    with storage.replacing(shards / name) as temporary:
        shutil.copyfile(original, temporary)
    if not members:
        return _Shard((name,), (), True)
    copies_name = f"{Path(name).stem}{COPIES_MARK}{Path(name).suffix}"
    rows = []
    by_id = {row.id: row for row in members}
    num_read = 0
    with storage.replacing(shards / copies_name) as temporary, ShardWriter(temporary) as writer:
        for record in read_records(original, by_id):
            num_read += 1
            for number in range(1, num_copies + 1):
                copy = copier.copy(record, number)
                bar.update()
                if copy is not None:
                    writer.write(copy.record)
                    rows.append(copy.row(by_id[record.id], copies_name))
    if num_read != len(members):
        raise damaged_shard(original)
    return _Shard((name, copies_name), tuple(rows), True)


def _state(source: DataFolder, name: str, members: Sequence[ClipRow]) -> str:
    """What the shards made of one shard depend on, besides the settings."""
    path = source.path / data_folder.SHARDS / name
    try:
        stat = path.stat()
    except OSError as error:
        raise damaged_shard(path) from error
    return storage.digest([stat.st_size, stat.st_mtime_ns, [row.as_cells() for row in members]])


def _write_index(out: Path, name: str, state: str, shard: _Shard) -> None:
    """Written last, so it stands for completeness."""
    index = {
        "state": state,
        "files": {file: _size(out, file) for file in shard.files},
        "rows": [row.as_cells() for row in shard.rows],
    }
    storage.write_json(_index(out, name), index)


def _kept(out: Path, name: str, state: str) -> _Shard | None:
    """What an earlier run made of a shard, if all of it is there and still holds."""
    path = _index(out, name)
    if not path.is_file():
        return None
    index = storage.read_json(path)
    whole = all(_size(out, file) == size for file, size in index["files"].items())
    if index["state"] != state or not whole:
        return None
    cells = ({key: str(value) for key, value in row.items()} for row in index["rows"])
    return _Shard(tuple(index["files"]), tuple(ClipRow.from_cells(row) for row in cells), False)


def _index(out: Path, name: str) -> Path:
    return (out / data_folder.SHARDS / name).with_suffix(".json")


def _size(out: Path, file: str) -> int:
    path = out / data_folder.SHARDS / file
    return path.stat().st_size if path.is_file() else -1
