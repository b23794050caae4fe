"""The runs of the streams that a fusion joins: checked, and what the whole takes over from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from errors import UserError
from modeling import run_folder
from modeling.recipes import Recipe
from modeling.run_folder import RunInfo
from preprocessing.data_folder import DataFolder, is_data_folder, open_data_folder


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


def with_their_labels(recipe: Recipe, infos: dict[str, RunInfo]) -> Recipe:
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
    """The data folders that all runs were trained on, if those are the same and still there."""
    digests = [[data["digest"] for data in info.data] for info in infos.values()]
    if any(other != digests[0] for other in digests):
        return []
    paths = [Path(data["path"]) for data in next(iter(infos.values())).data]  # not of tables
    return [open_data_folder(p) for p in paths] if all(map(is_data_folder, paths)) else []


def joined_input(infos: dict[str, RunInfo]) -> dict[str, Any]:
    """What the whole model takes in, see `input_spec.InputSpec`."""
    joined: dict[str, Any] = {}
    for info in infos.values():
        joined |= {key: value for key, value in info.input.items() if value is not None}
    return joined


def with_parts(info: RunInfo, infos: dict[str, RunInfo], leaked: bool) -> RunInfo:
    """Adds what the streams themselves have seen, and how faces were cut for the video stream.

    Args:
      leaked: something crosses from a stream's training to what the fusion is judged on.
    """
    each = list(infos.values())
    train_seen, validation_seen = info.train_seen, info.validation_seen
    for other in each:
        train_seen |= other.train_seen
        validation_seen |= other.validation_seen
    preparation = dict(infos["video"].preparation if "video" in infos else info.preparation)
    if "audio" in infos:
        preparation["sample_rate_hz"] = infos["audio"].preparation["sample_rate_hz"]
    return dataclasses.replace(
        info,
        train_seen=train_seen,
        validation_seen=validation_seen,
        preparation=preparation,
        notes=tuple(dict.fromkeys([*info.notes, *(n for o in each for n in o.notes)])),
        leak_allowed=info.leak_allowed or leaked or any(o.leak_allowed for o in each),
        synthetic=info.synthetic or any(o.synthetic for o in each),
        parts={
            s: dataclasses.asdict(o.calibration)
            | {"recipe": o.recipe.name, "features": o.recipe.features, "scores": o.scores}
            | {"corpora": list(dict.fromkeys(data["corpus"] for data in o.data))}
            | ({"members": o.members} if o.members else {})
            | ({"speeds": o.recipe.speeds} if o.recipe.speeds else {})
            for s, o in infos.items()
        },
    )
