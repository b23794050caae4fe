"""`crossval`: a recipe trained and tested over folds of whole speakers, with several seeds."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import progress
import registry
import storage
from engines import tasks
from engines.here import Here
from engines.tasks import Died, Engine, Limits, Tell
from errors import UserError
from modeling import evaluation, run_folder
from modeling.crossval_folds import Fold, make_folds, splits_of_fold
from modeling.part import choose
from modeling.recipes import Recipe
from modeling.run_folder import is_run
from modeling.train_fusion import train_fusion
from modeling.train_run import TrainOptions
from modeling.train_stream import train_stream
from preprocessing.clip import SPLITS, STREAMS
from preprocessing.data_folder import ClipRow, DataFolder, Splits
from preprocessing.labels import LabelSet
from preprocessing.leaks import Seen, crossings

PLAN = "plan.json"
DONE = "done.json"
PREDICTIONS = "predictions.csv"
# Within the folder of a fusion's pair, by stream.
ALONE, ONLY = "alone", "only"
# Columns of `predictions.csv` before the probability of each class.
FACTS = ("id", "fold", "seed", "speaker", "sex", "intensity", "label", "recognised")


@dataclass(frozen=True)
class Crossval:
    """What is crossed with what.

    Attributes:
      recipe: of a stream, or of a fusion.
      parts: of a fusion: the recipes of its streams; empty for a stream.
      data: one data folder or feature table; its own split is not looked at.
      folds: of its speakers.
      num_seeds: seeds 0 to num_seeds - 1, each over all folds.
      rows: the clips that are scored: with a label of the set and a stream.
      parts_from: crossval folder of another fusion, whose trained streams are used.
      leak: the fault that is made on purpose, see `crossval_leaks`; "" for none.
      splits: with a leak, of each fold; empty takes those that the folds say.
      also: folders whose every clip trains the streams in each fold, and is never scored.
    """

    recipe: Recipe
    parts: tuple[Recipe, ...]
    data: DataFolder
    folds: tuple[Fold, ...]
    num_seeds: int
    out: Path
    rows: tuple[ClipRow, ...]
    parts_from: Path | None = None
    leak: str = ""
    splits: tuple[Splits, ...] = ()
    also: tuple[DataFolder, ...] = ()

    @property
    def labels(self) -> LabelSet:
        """The label set that is predicted."""
        found: LabelSet = registry.load("label-sets", self.recipe.labels)
        return found

    @property
    def plan(self) -> dict[str, Any]:
        """What must be the same for the pairs in a folder to belong together (`plan.json`)."""
        optional: dict[str, Any] = {"leak": self.leak} if self.leak else {}
        if self.also:
            optional["also_train"] = [storage.digest(folder.content()) for folder in self.also]
        return optional | {
            "recipe": self.recipe.as_json(),
            "parts": [part.as_json() for part in self.parts],
            "labels": list(self.labels.labels),
            "data": storage.digest(self.data.content()),
            "folds": [dataclasses.asdict(fold) for fold in self.folds],
        }

    def pair(self, fold: Fold, seed: int) -> Path:
        """Run folder of one fold and seed."""
        return self.out / f"fold-{fold.number}-seed-{seed}"

    @property
    def streams(self) -> tuple[str, ...]:
        """Of a fusion those of its parts, in the usual order."""
        named = {part.stream for part in self.parts} or {self.recipe.stream}
        return tuple(stream for stream in STREAMS if stream in named)

    def part_run(self, fold: Fold, seed: int, stream: str) -> Path:
        """Run folder of one stream of a fusion."""
        name = f"{self.pair(fold, seed).name}-{stream}"
        return (self.parts_from or self.out) / name


def plan_crossval(
    recipe: Recipe,
    parts: Sequence[Recipe],
    data: DataFolder,
    folds: str,
    num_seeds: int,
    out: Path,
    num_validation: int | None = None,
    parts_from: Path | None = None,
    also: Sequence[DataFolder] = (),
) -> Crossval:
    """Chooses the clips and deals their speakers to folds; nothing is written yet.

    Args:
      parts: recipes of the streams of a fusion.
      folds: how many, or "loso"; `num_validation`: speakers that validate in each; see
        `make_folds`.
      also: folders that train only.
    Raises:
      UserError: no clip, no speakers, folds that cannot be, a fusion without its parts, or a
        folder that adds nothing or shows what `data` shows.
    """
    streams = [part.stream for part in parts] or [recipe.stream]
    _require_parts(recipe, streams if parts else [])
    labels: LabelSet = registry.load("label-sets", recipe.labels)
    rows = choose([data], "all", labels, streams).all_rows
    if not rows:
        raise UserError(
            f"{data.path}: no clip has a label of {recipe.labels} and a stream of"
            f" {', '.join(streams)}; check --labels, and `describe` the data"
        )
    dealt = make_folds(rows, folds, data.path, num_validation)
    if parts_from is not None and not parts:
        raise UserError(f"--parts-from {parts_from}: of a fusion only; {recipe.name} is a stream")
    for folder in also:
        if not choose([folder], "all", labels, streams).all_rows:
            raise UserError(
                f"--also-train {folder.path}: no clip has a label of {recipe.labels} and a stream"
                f" of {', '.join(streams)}; leave it out"
            )
    _require_other(rows, also)
    return Crossval(
        recipe,
        tuple(parts),
        data,
        dealt,
        num_seeds,
        out,
        tuple(rows),
        parts_from,
        also=tuple(map(_only_training, also)),
    )


def _require_other(rows: Sequence[ClipRow], also: Sequence[DataFolder]) -> None:
    """What only trains shows nobody and nothing that is scored, nor anything twice."""
    seen = Seen.of(rows)
    for folder in also:
        own = folder.part("all")
        if found := crossings(seen, own):
            raise UserError(
                f"--also-train {folder.path}: {'; '.join(found)} stands in --data or another"
                " --also-train, too; leave it out"
            )
        seen |= Seen.of(own)


def _only_training(folder: DataFolder) -> DataFolder:
    """All that is usable trains, transformed copies too."""
    ids = tuple(row.id for row in folder.rows if not row.excluded)
    parts = {split: ids if split == "train" else () for split in SPLITS}
    return dataclasses.replace(folder, splits=Splits(parts, {"kind": "train only"}))


def _require_parts(recipe: Recipe, streams: Sequence[str]) -> None:
    """A fusion has a recipe for each of two streams or more, a stream has none."""
    if recipe.stream != "fusion":
        if streams:
            raise UserError(f"recipe {recipe.name}: of one stream; --part goes with a fusion")
    elif not streams:
        raise UserError(
            f"recipe {recipe.name}: a fusion that names no recipes for its streams, which crossval"
            " trains anew in each fold; name them with --part"
        )
    elif len(set(streams)) != len(streams) or len(streams) < 2:
        raise UserError(
            f"recipe {recipe.name}: a fusion of one stream each, two at least; the parts are of"
            f" {', '.join(streams)}"
        )


def run_crossval(
    crossval: Crossval,
    work: Work | None = None,
    engine: Engine = Here(),  # noqa: B008  (frozen)
) -> list[dict[str, str]]:
    """Trains and predicts what is not done yet, and writes all out-of-fold predictions.

    A finished pair of fold and seed is left alone, an interrupted training goes on.

    Args:
      work: trains and predicts a pair, to its `done.json`; None as the recipe says.
      engine: where pairs are trained; on any but `Here` several at a time.
    Returns:
      the rows of `predictions.csv`: each clip once a seed.
    Raises:
      UserError: the folder holds a crossval of other settings, or something else; or a process
        that trains ends twice.
    """
    _begin(crossval)
    pairs = [(fold, seed) for seed in range(crossval.num_seeds) for fold in crossval.folds]
    todo = []
    for number, (fold, seed) in enumerate(pairs, start=1):
        told = f"{crossval.leak} {crossval.pair(fold, seed).name} ({number} of {len(pairs)})"
        if _is_done(crossval, fold, seed):
            progress.say(f"{told.strip()}: done before")
        else:
            todo.append(PairTask(crossval, fold, seed, work, told.strip(), engine != Here()))
    _do(todo, engine)
    rows = [row for fold, seed in pairs for row in _predictions_of(crossval, fold, seed)]
    columns = (*FACTS, *crossval.labels.labels)
    storage.write_csv(crossval.out / PREDICTIONS, columns, rows)
    return rows


def _begin(crossval: Crossval) -> None:
    out, plan = crossval.out, crossval.plan
    _require_parts_from(crossval)
    if not (out / PLAN).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"{out}: not empty and not of crossval; choose another --out")
        storage.write_json(out / PLAN, plan)
    there = storage.read_json(out / PLAN)
    if differing := _differing(there, plan, {**plan, "leak": "", "also_train": []}):
        raise UserError(
            f"{out}: holds a crossval with another {' and '.join(differing)}; choose another --out"
            " or repeat its settings"
        )
    storage.remove_leftovers(out)


def _differing(there: dict[str, Any], here: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Keys of two plans that disagree; by digests, for JSON holds tuples as lists."""
    return [k for k in keys if storage.digest(there.get(k)) != storage.digest(here.get(k))]


def _require_parts_from(crossval: Crossval) -> None:
    """The other crossval trained the same streams on the same folds, to the end."""
    other = crossval.parts_from
    if other is None:
        return
    if not (other / PLAN).is_file():
        raise UserError(f"--parts-from {other}: no crossval folder (no {PLAN})")
    keys = ("parts", "labels", "data", "folds", "leak", "also_train")
    if differing := _differing(storage.read_json(other / PLAN), crossval.plan, keys):
        raise UserError(f"--parts-from {other}: a crossval with another {' and '.join(differing)}")
    for seed in range(crossval.num_seeds):
        for fold in crossval.folds:
            for stream in crossval.streams:
                run = crossval.part_run(fold, seed, stream)
                if not is_run(run) or not run_folder.read_run(run).finished:
                    raise UserError(f"{run}: not trained to its end; finish that crossval first")


# === Pairs as tasks ===

# Trains and predicts a fold with a seed.
Work = Callable[[Crossval, Fold, int], None]
# A pair whose process ends so often stops the crossval.
MAX_DEATHS = 2


@dataclass(frozen=True)
class PairTask:
    """The work on one fold with one seed, as it travels to a process on any machine.

    Attributes:
      work: see `run_crossval`.
      told: how the pair is named to the user.
      is_one_of_many: others are trained at the same time, and how far all are is told elsewhere.
      num_deaths: how often its process ended.
    """

    crossval: Crossval
    fold: Fold
    seed: int
    work: Work | None
    told: str
    is_one_of_many: bool
    num_deaths: int = 0

    def after(self, died: Died) -> PairTask:
        """The same once more; it goes on behind its last finished epoch.

        Raises:
          UserError: its process ended too often.
        """
        if self.num_deaths + 1 >= MAX_DEATHS:
            raise UserError(
                f"{self.crossval.pair(self.fold, self.seed)}: its training {died.reason},"
                f" {MAX_DEATHS} times; take fewer --workers, or a smaller --batch-size"
            )
        return dataclasses.replace(self, num_deaths=self.num_deaths + 1)


def do_pair(task: PairTask, tell: Tell) -> None:
    """Trains and predicts one pair."""
    if task.is_one_of_many:
        progress.silence()
    tell(0)
    progress.say(f"{task.told}: test {', '.join(task.fold.test) or 'clips at random'}")
    (task.work or _train_and_predict)(task.crossval, task.fold, task.seed)


def _do(todo: Sequence[PairTask], engine: Engine) -> None:
    if not todo:
        return
    with engine.open(do_pair, Limits()) as pool:
        if not todo[0].is_one_of_many:
            for _ in tasks.run(pool, todo, PairTask.after):
                pass
            return
        with progress.bar(len(todo), "crossval", "training") as bar:
            for task, _ in tasks.run(pool, todo, PairTask.after):
                progress.say(f"{task.told}: done")
                bar.update()


# === One fold with one seed ===


def data_of(crossval: Crossval, fold: Fold) -> DataFolder:
    """The data under the split of a fold; nothing on disk changes."""
    if crossval.splits:
        splits = crossval.splits[crossval.folds.index(fold)]
    else:
        splits = splits_of_fold(crossval.data.rows, fold, len(crossval.folds))
    return dataclasses.replace(crossval.data, splits=splits)


def training_folders(crossval: Crossval, fold: Fold, stream: str) -> list[DataFolder]:
    """What one stream is trained on: the data under the split of a fold, and what is added."""
    added = [f for f in crossval.also if choose([f], "train", crossval.labels, (stream,)).all_rows]
    return [data_of(crossval, fold), *added]


def _mark(crossval: Crossval, fold: Fold, seed: int) -> dict[str, Any]:
    """What a finished pair belongs to; `done.json` holds it with the digest of its predictions."""
    data = data_of(crossval, fold)
    recipes = [recipe.as_json() for recipe in (crossval.recipe, *crossval.parts)]
    folders = [data, *crossval.also]
    content = [folder.content() for folder in folders] if crossval.also else data.content()
    return {
        "data": storage.digest(content),
        "recipe": storage.digest(recipes),
        "split": storage.digest(data.splits.parts),
        "seed": seed,
    }


def _is_done(crossval: Crossval, fold: Fold, seed: int) -> bool:
    path = crossval.pair(fold, seed)
    if not (path / DONE).is_file() or not (path / PREDICTIONS).is_file():
        return False
    wanted = _mark(crossval, fold, seed)
    held = storage.file_sha256(path / PREDICTIONS)
    return bool(storage.read_json(path / DONE) == {**wanted, "predictions": held})


def mark_done(crossval: Crossval, fold: Fold, seed: int) -> None:
    """Writes `done.json` of a pair whose predictions are there."""
    path = crossval.pair(fold, seed)
    held = storage.file_sha256(path / PREDICTIONS)
    storage.write_json(path / DONE, {**_mark(crossval, fold, seed), "predictions": held})


def _train_and_predict(crossval: Crossval, fold: Fold, seed: int) -> None:
    path, data, leak = crossval.pair(fold, seed), data_of(crossval, fold), bool(crossval.leak)
    keras.backend.clear_session()  # models of earlier pairs are let go
    if crossval.recipe.stream == "fusion":
        runs = {s: crossval.part_run(fold, seed, s) for s in crossval.streams}
        if crossval.parts_from is None:
            for part in crossval.parts:
                options = options_of(crossval, fold, seed, part.stream)
                _train_stream(part, training_folders(crossval, fold, part.stream), options)
        train_fusion(crossval.recipe, runs, [data], options_of(crossval, fold, seed))
        for stream, run in runs.items():
            evaluation.evaluate(run, [data], "test", path / ALONE / stream, leak)
            evaluation.evaluate(path, [data], "test", path / ONLY / stream, leak, stream)
    else:
        folders = training_folders(crossval, fold, crossval.recipe.stream)
        _train_stream(crossval.recipe, folders, options_of(crossval, fold, seed))
    evaluation.evaluate(path, [data], "test", path, leak)
    mark_done(crossval, fold, seed)


def _train_stream(recipe: Recipe, folders: Sequence[DataFolder], options: TrainOptions) -> None:
    """Trains a stream unless that is done."""
    if not is_run(options.out) or not run_folder.read_run(options.out).finished:
        train_stream(recipe, folders, options)


def options_of(crossval: Crossval, fold: Fold, seed: int, stream: str = "") -> TrainOptions:
    """How a pair is trained, or one stream of a fusion.

    Words of a script stop training only where they are alone.
    """
    path = crossval.part_run(fold, seed, stream) if stream else crossval.pair(fold, seed)
    return TrainOptions(
        path,
        seed,
        resume=is_run(path),
        allow_leak=bool(crossval.leak),
        allow_fixed_sentences=bool(stream),
    )


def _predictions_of(crossval: Crossval, fold: Fold, seed: int) -> list[dict[str, str]]:
    """The predictions of a finished pair, with what the corpus tells of each clip."""
    return _with_facts(crossval, fold, seed, crossval.pair(fold, seed) / PREDICTIONS)


def predictions_of_streams(crossval: Crossval, kind: str) -> dict[str, list[dict[str, str]]]:
    """By stream of a fusion all predictions from that stream.

    Args:
      kind: `ALONE`, of the stream's own model, or `ONLY`, of the fusion given nothing else.
    """
    streams = crossval.streams if crossval.parts else ()
    return {
        stream: [
            row
            for seed in range(crossval.num_seeds)
            for fold in crossval.folds
            for row in _with_facts(
                crossval, fold, seed, crossval.pair(fold, seed) / kind / stream / PREDICTIONS
            )
        ]
        for stream in streams
    }


def _with_facts(crossval: Crossval, fold: Fold, seed: int, path: Path) -> list[dict[str, str]]:
    known = {row.id: row for row in crossval.rows}
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    return [
        {
            **row,
            "fold": str(fold.number),
            "seed": str(seed),
            "sex": known[row["id"]].attributes.get("sex", ""),
            "intensity": known[row["id"]].attributes.get("intensity", ""),
        }
        for row in read
    ]
