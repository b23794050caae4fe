"""Trainings by typed commands: begun, gone on with, or left alone where they are finished."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.modeling.runs.score_store import read_scores
from affectstream.preprocessing.dataset.data_folder import (
    DataFolder,
    is_data_folder,
    open_data_folder,
)

if TYPE_CHECKING:
    from affectstream.modeling.recipes.recipe import StreamRecipe

ROOT = Path(__file__).resolve().parents[2]

# Text: the last epoch with averaged weights, so that nothing is selected on validation.
WORDS_LAST = (
    *("class_weights=false", "optimizer=adamw", "weight_decay=0.01", "schedule=cosine"),
    *("ema_momentum=0.99", "keep_epoch=last", "early_stopping_patience=0", "label_smoothing=0.1"),
)
WORDS_EPOCHS = 8
# Half the recipe's dropout, which the halves of training prefer (`words_ablation`).
WORDS_HALF_DROPOUT = (*WORDS_LAST, "dropout=0.25")
# Faces: wider than in the recipe, and also small and distorted like users' images.
FACE_ROUGH = (
    "width=48",
    "transforms=flip,crop_jitter:min_zoom=0.85:max_zoom=1.15:max_shift_fraction=0.08,"
    "downscale:probability=0.3,jpeg:probability=0.3,cutout,mixup",
)
FACE_EPOCHS = 60


@dataclass(frozen=True)
class Part:
    """One network to train.

    Attributes:
      recipe, labels: by name.
      data: data folders, joined.
      epochs: None takes the recipe's.
      settings: KEY=VALUE of the recipe or its encoder.
      scored_on: split that is evaluated; left alone where the data have none of it.
      ensemble_runs: finished runs for an ensemble recipe with as many members.
    """

    stream: str
    recipe: str
    labels: str
    data: tuple[str, ...]
    epochs: int | None = None
    settings: tuple[str, ...] = ()
    scored_on: str = "test"
    ensemble_runs: tuple[Path, ...] = ()

    @property
    def set_words(self) -> list[str]:
        """All that differs from the recipe, as `--set` takes it."""
        epochs = [] if self.epochs is None else [f"epochs={self.epochs}"]
        return [f"labels={self.labels}", *epochs, *self.settings]


def run_cli(*words: object) -> None:
    """Types a command in a process of its own, so that its run records what was typed.

    Raises:
      SystemExit: it did not end well; the same benchmark goes on from there.
    """
    typed = list(map(str, words))
    print(f"$ python cli.py {shlex.join(typed)}", file=sys.stderr, flush=True)
    code = subprocess.run([sys.executable, str(ROOT / "cli.py"), *typed], check=False).returncode
    if code:
        raise SystemExit(f"{typed[0]} ended with exit code {code}; run the same command to go on")


def require_data(part: Part) -> None:
    """Stops where a data folder is not prepared yet.

    Raises:
      UserError: naming the first.
    """
    for path in part.data:
        if not is_data_folder(Path(path)):
            raise UserError(
                f"{path}: no prepared data; make it with `python cli.py preprocess --source FOLDER"
                f" --out {path}`, or name another folder"
            )


def train_part(part: Part, run: Path, seed: int) -> None:
    """Trains a stream, resumes it, or keeps it if it is finished.

    Raises:
      UserError: no data, or a run of other settings in its place.
    """
    there = state(run)
    if there == "finished":
        recipe = registry.load("recipes", part.recipe).with_settings(part.set_words)
        paths = _resolved(part.data)
        _require_same(
            run, recipe, seed, lambda data: _resolved(one["path"] for one in data) == paths
        )
        _require_newest(run, part.ensemble_runs)
        print(f"{run}: finished already", file=sys.stderr)
    else:
        require_data(part)
        words: list[object] = ["--recipe", part.recipe, "--seed", seed, "--out", run]
        words += [word for path in part.data for word in ("--data", path)]
        words += [word for value in part.set_words for word in ("--set", value)]
        words += [word for one in part.ensemble_runs for word in ("--ensemble-run", one)]
        run_cli("train", *words, *(["--resume"] if there == "unfinished" else []))
    if not read_scores(run, part.scored_on) and _can_be_scored(part):
        words = [word for path in part.data for word in ("--data", path)]
        run_cli("evaluate", "--run", run, "--split", part.scored_on, *words)


def train_stream_once(
    recipe: StreamRecipe,
    folder: DataFolder,
    run: Path,
    seed: int = 0,
    init_from: Path | None = None,
) -> Path:
    """A stream trained on a folder as it is split here, without a command of its own.

    Begun, gone on with, or left alone where it is finished.

    Raises:
      UserError: a run, finished or not, of another recipe, data, split or seed.
    """
    from affectstream.modeling.runs.run_folder import describe_data
    from affectstream.modeling.training.train_stream import train_stream
    from affectstream.modeling.training.training_steps import TrainOptions

    there, given = state(run), _digests(describe_data((folder,)))
    if there != "absent":
        _require_same(run, recipe, seed, lambda data: _digests(data) == given)
    if there != "finished":
        options = TrainOptions(run, seed, resume=there == "unfinished", init_from=init_from)
        train_stream(recipe, [folder], options)
    return run


def _digests(data: Iterable[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(one["digest"], one["split_digest"]) for one in data]


def state(run: Path) -> str:
    """Of a run folder: "absent", "finished" or "unfinished"."""
    from affectstream.modeling.runs.run_folder import is_run, read_run

    if not is_run(run):
        return "absent"
    return "finished" if read_run(run).finished else "unfinished"


def _require_same(
    run: Path, recipe: StreamRecipe, seed: int, is_same_data: Callable[[list[dict[str, Any]]], bool]
) -> None:
    """Stops where a run is of another training.

    Args:
      is_same_data: called with the data entries of the run.
    """
    from affectstream.modeling.runs.run_folder import read_run

    info = read_run(run)
    differing = {
        "recipe": info.recipe != recipe,
        "seed": info.seed != seed,
        "data": not is_same_data(list(info.data)),
    }
    if names := [name for name, other in differing.items() if other]:
        raise UserError(
            f"{run}: trained with another {' and '.join(names)}; remove it or choose another --runs"
        )


def _require_newest(run: Path, members: Sequence[Path]) -> None:
    """Stops if an ensemble run contains a network that was trained again since."""
    from affectstream.modeling.runs.run_folder import BEST

    for member in members:
        if (member / BEST).stat().st_mtime > (run / BEST).stat().st_mtime:
            raise UserError(f"{run}: older than {member}, which it averages; remove it")


def _resolved(paths: Iterable[str]) -> list[Path]:
    """Where links lead to."""
    return [Path(path).resolve() for path in paths]


def _can_be_scored(part: Part) -> bool:
    folders = [Path(path) for path in part.data]
    return all(map(is_data_folder, folders)) and any(
        open_data_folder(path).subset(part.scored_on) for path in folders
    )
