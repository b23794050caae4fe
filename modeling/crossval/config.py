"""Configuration of a cross-validation: clips, speaker folds and seeds. Trains nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, registry
from affectstream.core.errors import UserError
from affectstream.modeling.crossval.folds import Fold, make_folds, splits_of_fold
from affectstream.modeling.data.subset import select_records
from affectstream.modeling.recipes.recipe import FusionRecipe, Recipe, StreamRecipe
from affectstream.preprocessing.clip import SPLITS, STREAMS
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, Splits
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.labels import LabelSet


@dataclass(frozen=True)
class Crossval:
    """Plan of a cross-validation: recipes, data, folds and seeds.

    Attributes:
      recipe: a stream recipe or a fusion recipe.
      stream_recipes: for a fusion, the recipes of its streams; empty for a stream.
      data: one data folder or feature table; its own split is ignored.
      folds: speaker folds.
      num_seeds: seeds 0 to num_seeds - 1, each over all folds.
      rows: scored clips; each has a label of the set and at least one stream.
      reuse_streams: crossval folder of another fusion whose trained streams are reused.
      reuse_ensemble: crossval folder of the same recipes with single networks, which the ensembles
        average (see `StreamRecipe.is_ensemble`); other single networks are reused unchanged.
      leakage: the deliberate fault, see `crossval/leakage.py`; "" for none.
      splits: splits of a leakage scenario, one for each fold; empty derives them from the folds.
      extra_train_data: folders used only to train the streams in each fold, never scored.
    """

    recipe: Recipe
    stream_recipes: tuple[StreamRecipe, ...]
    data: DataFolder
    folds: tuple[Fold, ...]
    num_seeds: int
    out: Path
    rows: tuple[ClipRow, ...]
    reuse_streams: Path | None = None
    leakage: str = ""
    splits: tuple[Splits, ...] = ()
    extra_train_data: tuple[DataFolder, ...] = ()
    reuse_ensemble: Path | None = None

    @property
    def labels(self) -> LabelSet:
        """The predicted label set."""
        found: LabelSet = registry.load("label-sets", self.recipe.labels)
        return found

    @property
    def plan(self) -> dict[str, Any]:
        """Settings that all fold runs in a folder must share (`plan.json`)."""
        optional: dict[str, Any] = {"leakage": self.leakage} if self.leakage else {}
        if self.extra_train_data:
            optional["extra_train_data"] = [
                atomic_io.digest(folder.content()) for folder in self.extra_train_data
            ]
        return optional | {
            "recipe": self.recipe.as_json(),
            "stream_recipes": [one.as_json() for one in self.stream_recipes],
            "labels": list(self.labels.labels),
            "data": atomic_io.digest(self.data.content()),
            "folds": [dataclasses.asdict(fold) for fold in self.folds],
        }

    def fold_run(self, fold: Fold, seed: int) -> Path:
        """Run folder of one fold and seed."""
        return self.out / _name(fold, seed)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the recipe, in the usual order."""
        named = {part.stream for part in self.stream_recipes} or {self.recipe.stream}
        return tuple(stream for stream in STREAMS if stream in named)

    def stream_run(self, fold: Fold, seed: int, stream: str) -> Path:
        """Run folder of one stream of a fusion."""
        home = self.reuse_streams
        if not self.recipe_of(stream).is_ensemble:  # reused: the other crossval trained it
            home = home or self.reuse_ensemble
        return (home or self.out) / _name(fold, seed, stream)

    def recipe_of(self, stream: str) -> Recipe:
        """The recipe of one stream of a fusion; the crossval's own recipe for ""."""
        return next((one for one in self.stream_recipes if one.stream == stream), self.recipe)

    def ensemble_runs(self, fold: Fold, seed: int, stream: str) -> tuple[Path, ...]:
        """Runs in `reuse_ensemble` that the ensemble averages; `stream` as in `recipe_of`."""
        recipe = self.recipe_of(stream)
        if (
            self.reuse_ensemble is None
            or isinstance(recipe, FusionRecipe)
            or not recipe.is_ensemble
        ):
            return ()
        seeds = range(seed * recipe.ensemble_size, (seed + 1) * recipe.ensemble_size)
        return tuple(self.reuse_ensemble / _name(fold, one, stream) for one in seeds)


def _name(fold: Fold, seed: int, stream: str = "") -> str:
    """Name of a run folder; it includes the stream if the run is one stream of a fusion."""
    return f"fold-{fold.number}-seed-{seed}" + (f"-{stream}" if stream else "")


def plan_crossval(
    recipe: Recipe,
    stream_recipes: Sequence[StreamRecipe],
    data: DataFolder,
    folds: str,
    num_seeds: int,
    out: Path,
    num_validation_speakers: int | None = None,
    reuse_streams: Path | None = None,
    extra_train_data: Sequence[DataFolder] = (),
    reuse_ensemble: Path | None = None,
) -> Crossval:
    """Chooses the clips and assigns their speakers to folds; writes nothing.

    Args:
      stream_recipes: recipes of the streams of a fusion.
      folds: number of folds, or "loso"; `num_validation_speakers` validate in each; see
        `make_folds`.
      extra_train_data: folders used only for training.
      reuse_ensemble: crossval folder whose seeds form the ensembles, see `Crossval`.
    Raises:
      UserError: no clip, no speakers, impossible folds, a fusion without stream recipes, or an
        extra folder without usable clips or that overlaps with `data`.
    """
    streams = [one.stream for one in stream_recipes] or [recipe.stream]
    _require_parts(recipe, streams if stream_recipes else [])
    labels: LabelSet = registry.load("label-sets", recipe.labels)
    rows = select_records([data], "all", labels, streams).all_rows
    if not rows:
        raise UserError(
            f"{data.path}: no clip has a label of {recipe.labels} and a stream of"
            f" {', '.join(streams)}; check --labels, and `describe` the data"
        )
    assigned_folds = make_folds(rows, folds, data.path, num_validation_speakers)
    if reuse_streams is not None and not stream_recipes:
        raise UserError(
            f"--reuse-streams {reuse_streams}: of a fusion only; {recipe.name} is a stream"
        )
    if reuse_ensemble is not None and not any(one.is_ensemble for one in (*stream_recipes, recipe)):
        raise UserError(
            f"--reuse-ensemble {reuse_ensemble}: nothing is averaged; --set"
            " ensemble_size=N, or tta_speeds"
        )
    for folder in extra_train_data:
        if not select_records([folder], "all", labels, streams).all_rows:
            raise UserError(
                f"--extra-train-data {folder.path}: no clip has a label of {recipe.labels} and a"
                " stream"
                f" of {', '.join(streams)}; leave it out"
            )
    _require_other(rows, extra_train_data)
    return Crossval(
        recipe,
        tuple(stream_recipes),
        data,
        assigned_folds,
        num_seeds,
        out,
        tuple(rows),
        reuse_streams,
        extra_train_data=tuple(map(_only_training, extra_train_data)),
        reuse_ensemble=reuse_ensemble,
    )


def _require_other(rows: Sequence[ClipRow], extra_train_data: Sequence[DataFolder]) -> None:
    """Extra training data must not share speakers or content with scored data or each other."""
    seen = DataFootprint.of(rows)
    for folder in extra_train_data:
        own = folder.subset("all")
        if found := overlaps(seen, own):
            raise UserError(
                f"--extra-train-data {folder.path}: {'; '.join(found)} stands in --data or another"
                " --extra-train-data, too; leave it out"
            )
        seen |= DataFootprint.of(own)


def _only_training(folder: DataFolder) -> DataFolder:
    """Puts every usable clip in the training split, augmented copies too."""
    ids = tuple(row.id for row in folder.rows if not row.excluded)
    parts = {split: ids if split == "train" else () for split in SPLITS}
    return dataclasses.replace(folder, splits=Splits(parts, {"kind": "train only"}))


def _require_parts(recipe: Recipe, streams: Sequence[str]) -> None:
    """A fusion needs recipes of at least two different streams; a stream recipe takes none."""
    if recipe.stream != "fusion":
        if streams:
            raise UserError(
                f"recipe {recipe.name}: of one stream; --stream-recipe goes with a fusion"
            )
    elif not streams:
        raise UserError(
            f"recipe {recipe.name}: a fusion that names no recipes for its streams, which crossval"
            " trains anew in each fold; name them with --stream-recipe"
        )
    elif len(set(streams)) != len(streams) or len(streams) < 2:
        raise UserError(
            f"recipe {recipe.name}: a fusion of one stream each, two at least; the parts are of"
            f" {', '.join(streams)}"
        )


def data_for_fold(crossval: Crossval, fold: Fold) -> DataFolder:
    """The data with the split of a fold; nothing on disk changes."""
    if crossval.splits:
        splits = crossval.splits[crossval.folds.index(fold)]
    else:
        splits = splits_of_fold(crossval.data.rows, fold, len(crossval.folds))
    return dataclasses.replace(crossval.data, splits=splits)


def training_folders(crossval: Crossval, fold: Fold, stream: str) -> list[DataFolder]:
    """Training data of one stream: the data with the split of a fold, and the extra data."""
    added = [
        f
        for f in crossval.extra_train_data
        if select_records([f], "train", crossval.labels, (stream,)).all_rows
    ]
    return [data_for_fold(crossval, fold), *added]
