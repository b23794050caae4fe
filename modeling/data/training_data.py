"""The checked data of a training: no leak, every class, folders prepared alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.core import progress, registry
from affectstream.core.errors import UserError
from affectstream.modeling.data.subset import Subset, any_has_stream, class_indices, select_records
from affectstream.modeling.recipes.recipe import Recipe
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.dataset.data_folder import DataFolder
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps, require_disjoint
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT, ONE_SPEAKER
from affectstream.preprocessing.dataset.text_informativeness import measure_rows
from affectstream.preprocessing.labels import LabelSet

SCRIPTED_TEXT = "fixed sentences"


@dataclass(frozen=True)
class TrainingData:
    """The checked data of a training.

    Attributes:
      subsets: the records of each split that have a label and a stream.
      notes: what readers of a score must know.
      leak_allowed: an overlap between splits was allowed.
    """

    folders: tuple[DataFolder, ...]
    labels: LabelSet
    subsets: dict[str, Subset]
    notes: tuple[str, ...]
    leak_allowed: bool

    @property
    def synthetic(self) -> bool:
        return any(folder.synthetic for folder in self.folders)

    @property
    def preparation(self) -> dict[str, Any]:
        """How the records were made; for each stream from the first folder that has it."""
        sound, faces = (self.subsets["train"].folder_with_stream(s) for s in ("audio", "video"))
        preparation: dict[str, Any] = dict(faces.settings["preparation"])
        return preparation | {"sample_rate_hz": sound.settings["preparation"]["sample_rate_hz"]}

    @property
    def test_footprint(self) -> DataFootprint:
        """Speakers, recordings and content of the test sets, with any label and stream."""
        return DataFootprint.of(row for folder in self.folders for row in folder.subset("test"))

    def footprint(self, split: str) -> DataFootprint:
        return DataFootprint.of(self.subsets[split].all_rows)


def training_data(
    folders: Sequence[DataFolder],
    label_set: str,
    streams: Sequence[str],
    allow_leak: bool,
    allow_scripted_text: bool = False,
) -> TrainingData:
    """Chooses the records of a training and requires disjoint splits.

    Args:
      allow_scripted_text: train on text alone although it carries no information about the label;
        with other streams such text only causes a warning.
    Raises:
      UserError: a leak, folders prepared differently, no record, a class without records, or text
        that carries no information about the label.
    """
    labels: LabelSet = registry.load("label-sets", label_set)
    _require_alike(folders, streams)
    parts = {split: select_records(folders, split, labels, streams) for split in SPLITS}
    notes = tuple(sorted({note for folder in folders for note in folder.splits.notes}))
    if ONE_SPEAKER in notes and not len(parts["train"]):
        raise UserError(
            f"{folders[0].path}: {ONE_SPEAKER}; add recordings of a second person, use a trained"
            " model (`predict`, `evaluate --split all`), or adapt one to this person (`split"
            " --adaptation-split`, then `train --init-from`)"
        )
    for split in ("train", "validation"):
        if not len(parts[split]):
            raise UserError(
                f"no {split} record has a label of {label_set} and a stream of"
                f" {', '.join(streams)}; check --labels, `split`, and `describe` the data"
            )
    _require_all_classes(parts["train"], labels, label_set)
    footprint = DataFootprint.of(parts["train"].all_rows)
    leaked = require_disjoint(
        overlaps(footprint, parts["validation"].all_rows, NOT_DISJOINT not in notes),
        "training and validation",
        allow_leak,
    )
    footprint |= DataFootprint.of(parts["validation"].all_rows)
    test = [row for folder in folders for row in folder.subset("test")]
    leaked |= require_disjoint(
        overlaps(footprint, test), "training or validation, and test", allow_leak
    )
    if "text" in streams:
        must_inform = tuple(streams) == ("text",) and not allow_scripted_text
        reason = _uninformative_text_reason(folders, parts["train"], labels)
        notes += _scripted_text_notes(reason, must_inform)
    _warn_of_absent(parts, labels)
    return TrainingData(tuple(folders), labels, parts, notes, leaked)


def _require_alike(folders: Sequence[DataFolder], streams: Sequence[str]) -> None:
    """Folders that hold a stream must be prepared alike for it."""
    needed = {"audio": "sample_rate_hz", "video": "face"}
    for stream, key in needed.items():
        holding = [
            f for f in folders if stream in streams and any_has_stream(f.subset("all"), stream)
        ]
        for first, folder in itertools.product(holding[:1], holding[1:]):
            a, b = (f.settings["preparation"][key] for f in (first, folder))
            if a != b:
                raise UserError(
                    f"{folder.path}: prepared with {key} {b}, {first.path} with {a};"
                    " preprocess both alike"
                )


def _require_all_classes(subset: Subset, labels: LabelSet, label_set: str) -> None:
    present = set(class_indices(subset, labels))
    absent = [name for i, name in enumerate(labels.labels) if i not in present]
    if absent:
        raise UserError(
            f"no training record of class {', '.join(absent)} (label set {label_set});"
            f" choose a set without it: --labels {'|'.join(registry.names('label-sets'))}"
        )


def _uninformative_text_reason(
    folders: Sequence[DataFolder], train: Subset, labels: LabelSet
) -> str:
    """Reason why the text carries no information about the label, "" if it does (measured)."""
    for folder in folders:
        if reason := folder.text_uninformative_reason:
            return reason
    classes = {row.id: labels.labels[labels.index(row.label) or 0] for row in train.all_rows}
    measured = measure_rows(train.all_rows, classes)
    return measured.explain() if measured.num_records and not measured.is_informative else ""


def _scripted_text_notes(reason: str, must_inform: bool) -> tuple[str, ...]:
    """Notes for recordings of scripted text.

    Raises:
      UserError: only text is trained.
    """
    if reason and must_inform:
        raise UserError(
            f"{reason}; train --stream audio or video on these recordings, or go on all the same"
            " with --allow-scripted-text"
        )
    if reason:
        progress.print_message(f"warning: {SCRIPTED_TEXT}: {reason}")
    return (f"{SCRIPTED_TEXT}: {reason}",) if reason else ()


def _warn_of_absent(parts: dict[str, Subset], labels: LabelSet) -> None:
    for split in ("validation", "test"):
        present = set(class_indices(parts[split], labels))
        absent = [name for i, name in enumerate(labels.labels) if i not in present]
        if absent and present:
            progress.print_message(
                f"note: no {split} record of {', '.join(absent)}; UAR leaves it out"
            )


def class_weights(data: TrainingData, recipe: Recipe) -> tuple[np.ndarray, tuple[float, ...]]:
    """Weight of each class in the loss, and log of the class shares after weighting."""
    counts = np.bincount(
        class_indices(data.subsets["train"], data.labels), minlength=len(data.labels.labels)
    )
    if recipe.training.class_weights:
        uniform = np.full(len(counts), -np.log(len(counts)))
        return (counts.sum() / (len(counts) * counts)).astype(np.float32), tuple(uniform.tolist())
    return np.ones(len(counts), np.float32), tuple(np.log(counts / counts.sum()).tolist())
