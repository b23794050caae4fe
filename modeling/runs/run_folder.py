"""A trained model on disk, with everything needed to judge and reproduce it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectstream import PROJECT
from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.recipes.recipe import Recipe, recipe_from_json
from affectstream.modeling.runs import checksummed_zip
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.dataset.leakage import DataFootprint
from affectstream.preprocessing.labels import LabelSet

RUN = "run.json"
SPLIT = "split.json"
BEST = "best.keras"
LAST = "last.keras"
HISTORY = "history.csv"
CURVES = "curves.png"
TENSORBOARD = "tensorboard"

PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-text",
    "numpy",
    "librosa",
    "av",
    "opencv-contrib-python",
    "mediapipe",
)


@dataclass(frozen=True)
class Calibration:
    """Calibration of a model's confidence, measured on its own validation split.

    Attributes:
      temperature: divides the logits.
      log_prior: (classes,) log of the class frequencies that the training loss saw.
    """

    temperature: float = 1.0
    log_prior: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """The contents of `run.json`.

    Attributes:
      streams: input streams of the model.
      input: input format of the model, see `input_spec.InputSpec`.
      preparation: how its records were made, for clients to repeat.
      data: for each data folder: path, corpus, licence, digest of its rows, records per split.
      seen: speakers, recordings and content of the training and validation splits.
      notes: what readers of a score must know.
      leak_allowed: an overlap between splits was allowed.
      scores: on validation, at the best epoch.
      ensemble_members: of an ensemble, the run folder and seed of each network.
      stream_info: of a fusion, for each stream its calibration, recipe and scores.
    """

    recipe: Recipe
    streams: tuple[str, ...]
    label_set: str
    labels: tuple[str, ...]
    seed: int
    input: dict[str, Any]
    preparation: dict[str, Any]
    data: list[dict[str, Any]]
    train_footprint: DataFootprint
    validation_footprint: DataFootprint
    notes: tuple[str, ...] = ()
    leak_allowed: bool = False
    synthetic: bool = False
    calibration: Calibration = Calibration()
    scores: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_revision: str | None = None
    command: str = ""
    finished: bool = False
    ensemble_members: list[dict[str, Any]] = field(default_factory=list)
    stream_info: dict[str, Any] = field(default_factory=dict)

    @property
    def footprint(self) -> DataFootprint:
        """Data footprint of every choice about the model: training and validation."""
        return self.train_footprint | self.validation_footprint

    def as_json(self) -> dict[str, Any]:
        value = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        value["recipe"] = self.recipe.as_json()
        value["train_footprint"] = self.train_footprint.as_json()
        value["validation_footprint"] = self.validation_footprint.as_json()
        value["calibration"] = dataclasses.asdict(self.calibration)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunInfo:
        calibration = value["calibration"]
        return cls(
            **{
                **value,
                "recipe": recipe_from_json(value["recipe"]),
                "streams": tuple(value["streams"]),
                "labels": tuple(value["labels"]),
                "notes": tuple(value["notes"]),
                "train_footprint": DataFootprint.from_json(value["train_footprint"]),
                "validation_footprint": DataFootprint.from_json(value["validation_footprint"]),
                "calibration": Calibration(
                    calibration["temperature"], tuple(calibration["log_prior"])
                ),
            }
        )

    def training_differences(self, other: RunInfo) -> list[str]:
        """Names of settings that differ but must be equal to resume.

        The number of epochs may change, unless the learning-rate schedule depends on it. Data are
        compared by content, not by path.
        """
        mine, theirs = self.as_json(), other.as_json()
        for value in (mine, theirs):
            value["data"] = [without_path(one) for one in value["data"]]
        if self.recipe.training.schedule == "constant":
            mine["recipe"]["training"]["epochs"] = other.recipe.training.epochs
        keys = ("recipe", "label_set", "seed", "input", "data")
        different = [key for key in keys if mine[key] != theirs[key]]
        if not different and self.footprint != other.footprint:
            different.append("start (--init-from, or the runs of its streams)")
        return different


def is_run(path: Path) -> bool:
    """Whether `path` holds a run, finished or not."""
    return (path / RUN).is_file()


def read_run(path: Path) -> RunInfo:
    """Reads `run.json`.

    Raises:
      UserError: not a run, or damaged.
    """
    if not is_run(path):
        raise UserError(f"{path}: not a run folder (no {RUN}); give one that `train` wrote")
    try:
        value = atomic_io.read_checksummed_json(path / RUN, "train again (--overwrite)")
        return RunInfo.from_json(value)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / RUN}: not of this version ({error}); train again") from error


def find_damage(path: Path, models: Sequence[str] = (LAST, BEST)) -> str:
    """Names a damaged file without which the run cannot continue; "" if all are intact.

    Args:
      models: model files that are checked beside `run.json`.
    """
    if not is_run(path):
        return ""
    try:
        atomic_io.read_checksummed_json(path / RUN)
    except UserError:
        return f"{path / RUN}: damaged, not what was written"
    for file in (path / name for name in models):
        if file.is_file():
            with storage_paths.local_copy(file) as local:
                why = checksummed_zip.damage_reason(local)
            if why:
                return f"{file}: damaged ({why})"
    return ""


def write_run(path: Path, info: RunInfo) -> None:
    """Writes `run.json`."""
    atomic_io.write_checksummed_json(path / RUN, info.as_json())


def prepare_run_folder(path: Path, info: RunInfo, resume: bool, overwrite: bool) -> bool:
    """Prepares the run folder; returns whether there is a checkpoint to continue from.

    Raises:
      UserError: a run exists already, or `resume` finds no run or one with other settings.
    """
    require_free(path, resume, overwrite)
    if not is_run(path):
        atomic_io.remove_stale_temporaries(path)  # a run killed before it wrote `run.json`
    elif overwrite:
        _clear(path)
    elif resume:
        present = read_run(path)
        if differing := present.training_differences(info):
            raise UserError(
                f"{path}: begun with another {', '.join(differing)}{_of_schedule(present, info)};"
                " resume with the same options and data, or choose another --out"
            )
        atomic_io.remove_stale_temporaries(path)
        if present.finished and present.recipe != info.recipe:
            write_run(path, info)  # marked unfinished again, in case the process is killed midway
        return (path / LAST).is_file()
    write_run(path, info)
    return False


def require_free(path: Path, resume: bool, overwrite: bool) -> None:
    """Checks early what `prepare_run_folder` would refuse for any recipe.

    Raises:
      UserError: `path` holds a run or other files, or nothing to resume; or it is a bundled model.
    """
    storage_paths.require_outside_bundled(path)
    if is_run(path):
        if not (resume or overwrite):
            state = (
                "a finished run"
                if read_run(path).finished
                else "an unfinished run, --resume goes on"
            )
            raise UserError(f"{path}: holds {state}; choose another --out or --overwrite")
    elif resume:
        raise UserError(f"{path}: no run to resume; leave --resume out to begin one")
    elif path.is_dir() and any(not atomic_io.is_temporary_name(held) for held in path.iterdir()):
        raise UserError(f"{path}: not empty and not a run; choose another --out")


def require_outside(run: Path, option: str, out: Path) -> None:
    """Refuses a source run inside --out, which will be cleared.

    Raises:
      UserError: the run is the folder of --out, or inside it.
    """
    source, target = run.resolve(), out.resolve()
    if source == target or target in source.parents:
        raise UserError(f"{option} {run}: lies in --out {out}; choose another --out")


def _of_schedule(present: RunInfo, info: RunInfo) -> str:
    """Reason why a run cannot continue with another number of epochs; "" if it can."""
    before, now = present.recipe, info.recipe
    if before == now or before.with_training(epochs=now.training.epochs) != now:
        return ""
    return (
        f" (epochs: {now.training.epochs} now, its {before.training.schedule} schedule was laid out"
        f" over {before.training.epochs})"
    )


def _clear(path: Path) -> None:
    """Empties a run folder except for `run.json`, in case the process is killed midway."""
    for held in path.iterdir():
        if held.is_dir() and not held.is_symlink():
            storage_paths.remove_tree(held)
        elif held.name != RUN:
            held.unlink()


# === Facts stored with every run ===


def describe_data(folders: tuple[DataFolder, ...]) -> list[dict[str, Any]]:
    """Describes the data well enough to notice changes."""
    return [
        {
            "path": str(folder.path),
            "corpus": folder.settings["corpus"],
            "licence": folder.settings["licence"],
            "synthetic": folder.synthetic,
            "digest": atomic_io.digest(folder.content()),
            "split_digest": atomic_io.digest(folder.splits.parts),
            "split_rule": folder.splits.rule,
            "num_records": {name: len(ids) for name, ids in folder.splits.parts.items()},
        }
        for folder in folders
    ]


def without_path(data: dict[str, Any]) -> dict[str, Any]:
    """An entry of `RunInfo.data` without its path, which can be spelled in many ways and change."""
    return {key: value for key, value in data.items() if key != "path"}


def write_split(path: Path, folders: tuple[DataFolder, ...]) -> None:
    """Writes `split.json`: the record ids of each split of each data folder."""
    atomic_io.write_json(path / SPLIT, {str(f.path): f.splits.parts for f in folders})


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **packages}


def git_revision() -> str | None:
    """Git revision of this program, with `+changes` if files differ; None outside a checkout."""
    root = PROJECT

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command_line() -> str:
    """The command line of this process, ready to be typed again."""
    return " ".join(["python", *(Path(sys.argv[0]).name, *sys.argv[1:])])


def label_set_of(info: RunInfo) -> LabelSet:
    """The label set of a run, checked against the list stored in it.

    Raises:
      UserError: this version's list of that name differs from the one trained on.
    """
    from affectstream.core import registry

    labels: LabelSet = registry.load("label-sets", info.label_set)
    if labels.labels != info.labels:
        raise UserError(
            f"label set {info.label_set}: the run was trained on {', '.join(info.labels)},"
            f" this version has {', '.join(labels.labels)}; train again"
        )
    return labels
