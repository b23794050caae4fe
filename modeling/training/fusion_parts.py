"""Checks the stream runs of a fusion and merges what the fused model takes from them."""

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

# Advice for runs of the same recordings that cannot be paired.
_ALONE = "fuse them without paired data by --unpaired"


def read_stream_runs(runs: dict[str, Path]) -> dict[str, RunInfo]:
    """Reads the run info of each stream.

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
      UserError: the runs have different label sets, or one that has changed since.
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
    """The data folders that all runs were trained on; empty if the runs differ.

    Raises:
      UserError: the runs were trained on the same recordings, but these were moved, have changed,
        or were given as feature tables.
    """
    digests = [[data["digest"] for data in info.data] for info in infos.values()]
    if any(other != digests[0] for other in digests):
        _require_different(infos)
        return []
    each = zip(*(info.data for info in infos.values()), strict=True)
    return [_where_it_lies(described) for described in each]


def _where_it_lies(described: Sequence[dict[str, Any]]) -> DataFolder:
    """Finds one data folder that all runs were trained on.

    Args:
      described: its entry in each run; the folder may have moved between the trainings.
    Raises:
      UserError: the folder is absent or holds other data now.
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
    """Refuses to fuse runs of the same recordings as if their recordings were different.

    Raises:
      UserError: the runs name the same paths or were trained on the same recordings. Feature tables
        hold one stream each, so one shared recording is enough.
    """
    named = {stream: [data["path"] for data in info.data] for stream, info in infos.items()}
    folders = [
        [storage_paths.storage_path(path).resolve() for path in paths] for paths in named.values()
    ]
    seen = [info.footprint.recordings for info in infos.values()]
    are_tables = any(is_feature_table(path) for paths in folders for path in paths)
    are_same = frozenset.intersection(*seen) if are_tables else seen.count(seen[0]) == len(seen)
    if not are_same and folders.count(folders[0]) != len(folders):
        return
    options = " ".join(
        f"--data {stream}={path}" for stream, paths in named.items() for path in paths
    )
    if not are_tables:
        options = f"--data {next(iter(named.values()))[0]}"
    raise UserError(
        "the runs were trained on the same recordings, in different files or states; name those to"
        f" fuse them on ({options}), or {_ALONE}"
    )


def merged_input_spec(infos: dict[str, RunInfo]) -> dict[str, Any]:
    """Inputs of the whole model, see `input_spec.InputSpec`."""
    joined: dict[str, Any] = {}
    for info in infos.values():
        joined |= {key: value for key, value in info.input.items() if value is not None}
    return joined


def with_stream_info(info: RunInfo, infos: dict[str, RunInfo], leaked: bool) -> RunInfo:
    """Adds each stream's own training data, and the face crop settings of the video stream.

    Args:
      leaked: training data of a stream overlap with the fusion's validation or test split.
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
