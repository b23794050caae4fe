"""The runs of the streams that a fusion joins: checked, and what the whole takes over from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.modeling.runs import run_folder
from affectstream.modeling.runs.run_folder import RunInfo
from affectstream.preprocessing.dataset.data_folder import (
    DataFolder,
    is_data_folder,
    open_data_folder,
)
from affectstream.preprocessing.dataset.feature_table import is_feature_table

# What else can be done where runs of the same recordings cannot be paired.
_ALONE = "fuse them without paired data by --unpaired"


def read_stream_runs(runs: dict[str, Path]) -> dict[str, RunInfo]:
    """What is known of each stream's run.

    Args:
      runs: stream -> its run folder.
    Raises:
      UserError: unfinished, of another stream, or fewer than two.
    """
    infos = {stream: _checked(stream, path) for stream, path in runs.items()}
    if len(infos) < 2:
        raise UserError("a fusion joins two runs; name two of --audio-run, --video-run, --text-run")
    return infos


def _checked(stream: str, path: Path) -> RunInfo:
    info = run_folder.read_run(path)
    if not info.finished:
        raise UserError(f"{path}: unfinished run; finish it with --resume first")
    if info.streams != (stream,):
        raise UserError(f"{path}: a run of {'+'.join(info.streams)}, not of {stream}")
    return info


def with_common_label_set(recipe: FusionRecipe, infos: dict[str, RunInfo]) -> FusionRecipe:
    """The recipe of a fusion with the label set that its streams were trained on.

    Raises:
      UserError: they have different ones, or one that is no more what it was.
    """
    sets = {stream: info.label_set for stream, info in infos.items()}
    if len(set(sets.values())) > 1:
        told = ", ".join(f"{stream}: {name}" for stream, name in sets.items())
        raise UserError(
            f"the runs have different label sets ({told}); train both with one --labels"
        )
    for info in infos.values():
        run_folder.label_set_of(info)
    return dataclasses.replace(recipe, labels=next(iter(sets.values())))


def common_folders(infos: dict[str, RunInfo]) -> list[DataFolder]:
    """The data folders that all runs were trained on; none where those differ.

    Raises:
      UserError: the runs were trained on the same recordings, but these are not where they lay,
        have changed, or were given as feature tables.
    """
    digests = [[data["digest"] for data in info.data] for info in infos.values()]
    if any(other != digests[0] for other in digests):
        _require_different(infos)
        return []
    each = zip(*(info.data for info in infos.values()), strict=True)
    return [_where_it_lies(described) for described in each]


def _where_it_lies(described: Sequence[dict[str, Any]]) -> DataFolder:
    """One data folder that all runs were trained on.

    Args:
      described: by each of the runs; it may have moved between their trainings.
    Raises:
      UserError: absent, or it holds something else now.
    """
    named = list(dict.fromkeys(data["path"] for data in described))
    found = []
    for path in map(storage_paths.storage_path, named):
        storage_paths.require_reachable(path)
        if is_data_folder(path):
            found.append(open_data_folder(path))
    for folder in found:
        if atomic_io.digest(folder.content()) == described[0]["digest"]:
            return folder
    state = "holds other recordings by now" if found else "not there any more"
    raise UserError(
        f"{' or '.join(named)}: the data that all runs were trained on, {state}; name recordings"
        f" that have the streams together with --data, or {_ALONE}"
    )


def _require_different(infos: dict[str, RunInfo]) -> None:
    """Runs of the same recordings are not fused as if they were of different ones.

    Raises:
      UserError: they name the same paths, or have learnt from the same recordings; of feature
        tables, which hold one stream each, from one recording in common.
    """
    named = {stream: [data["path"] for data in info.data] for stream, info in infos.items()}
    lie = [
        [storage_paths.storage_path(path).resolve() for path in paths] for paths in named.values()
    ]
    seen = [info.footprint.recordings for info in infos.values()]
    are_tables = any(is_feature_table(path) for paths in lie for path in paths)
    are_same = frozenset.intersection(*seen) if are_tables else seen.count(seen[0]) == len(seen)
    if not are_same and lie.count(lie[0]) != len(lie):
        return
    told = " ".join(f"--data {stream}={path}" for stream, paths in named.items() for path in paths)
    if not are_tables:
        told = f"--data {next(iter(named.values()))[0]}"
    raise UserError(
        "the runs were trained on the same recordings, in different files or states; name those to"
        f" fuse them on ({told}), or {_ALONE}"
    )


def merged_input_spec(infos: dict[str, RunInfo]) -> dict[str, Any]:
    """What the whole model takes in, see `input_spec.InputSpec`."""
    joined: dict[str, Any] = {}
    for info in infos.values():
        joined |= {key: value for key, value in info.input.items() if value is not None}
    return joined


def with_stream_info(info: RunInfo, infos: dict[str, RunInfo], leaked: bool) -> RunInfo:
    """Adds what the streams themselves have seen, and how faces were cut for the video stream.

    Args:
      leaked: something crosses from a stream's training to what the fusion is judged on.
    """
    each = list(infos.values())
    train_footprint, validation_footprint = info.train_footprint, info.validation_footprint
    for other in each:
        train_footprint |= other.train_footprint
        validation_footprint |= other.validation_footprint
    preparation = dict(infos["video"].preparation if "video" in infos else info.preparation)
    if "audio" in infos:
        preparation["sample_rate_hz"] = infos["audio"].preparation["sample_rate_hz"]
    return dataclasses.replace(
        info,
        train_footprint=train_footprint,
        validation_footprint=validation_footprint,
        preparation=preparation,
        notes=tuple(dict.fromkeys([*info.notes, *(n for o in each for n in o.notes)])),
        leak_allowed=info.leak_allowed or leaked or any(o.leak_allowed for o in each),
        synthetic=info.synthetic or any(o.synthetic for o in each),
        stream_info={
            s: dataclasses.asdict(o.calibration)
            | {"recipe": o.recipe.name, "features": o.recipe.features, "scores": o.scores}
            | {"corpora": list(dict.fromkeys(data["corpus"] for data in o.data))}
            | ({"ensemble_members": o.ensemble_members} if o.ensemble_members else {})
            | ({"tta_speeds": speeds} if (speeds := getattr(o.recipe, "tta_speeds", "")) else {})
            for s, o in infos.items()
        },
    )
