"""`fusion=auto`: fits every fusion and keeps the one with the best validation score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from scipy.special import log_softmax

from affectstream.core import atomic_io, progress, registry, storage_paths
from affectstream.modeling.data.array_dataset import Arrays
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.fusions.best_stream import stream_predictions
from affectstream.modeling.metrics import calibration, classification
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.training.fit_fusion import (
    StreamOutputs,
    build_fusion,
    fit_fusion,
    fused_logits,
)
from affectstream.modeling.training.training_steps import TrainOptions

AUTO = "auto"
# Replaces `auto` where no recording has all streams, so that nothing can be compared.
AUTO_UNPAIRED_FUSION = "calibrated_late"
# Above 10 M weights; hours on a processor, and no corpus here is large enough to show a gain.
EXCLUDED_FROM_AUTO = ("concat_resnet1d",)
CANDIDATES = "candidates"
CANDIDATES_CSV = "fusions.csv"


@dataclass(frozen=True)
class Candidate:
    """A row of `fusions.csv`: one fusion, or one stream alone for comparison.

    Attributes:
      fusion: its name in the registry, or "STREAM alone", which cannot be chosen.
      val_uar, val_wa: on validation. A stream alone is counted as wrong where it is missing.
      val_loss: mean negative log-likelihood at the maximum-likelihood temperature; both are fitted
        and measured on validation.
      num_trainable_params: trainable weights.
      best_epoch: of the epochs trained; 0 for a stream alone.
    """

    fusion: str
    val_uar: float
    val_wa: float
    val_loss: float
    num_trainable_params: int = 0
    best_epoch: int = 0
    chosen: bool = False

    @property
    def ranking_key(self) -> tuple[float, float]:
        """Highest UAR, the lower loss on a tie."""
        return (round(self.val_uar, 9), -self.val_loss)


@dataclass(frozen=True)
class SelectedFusion:
    """The fusion that `auto` keeps.

    Attributes:
      history: epochs of the selected fusion.
      note: warns the reader of the run that the validation score is too high.
    """

    fusion: keras.Model
    history: checkpoints.History
    note: str


def choose_fusion(
    recipe: FusionRecipe,
    data: TrainingData,
    outputs: StreamOutputs,
    options: TrainOptions,
) -> SelectedFusion:
    """Fits every fusion but `EXCLUDED_FROM_AUTO`; keeps the one with the highest validation UAR.

    `best_stream` is a candidate, so the choice is never worse on validation than the best stream
    alone. Each candidate trains in its own folder and continues from its checkpoint when the run is
    resumed. The folders are removed once the choice is made; the table `fusions.csv` stays.

    The validation score of the choice is too high, because it is the best of several noisy scores.
    Of N equally good candidates with independent errors, the best looks 1.4 standard deviations (N
    = 8) better than it is; one deviation is about sqrt(UAR (1 - UAR) / clips). That is up to 5
    points at 200 clips. Candidates make similar errors, so the real bias is smaller. The note and
    the table state how many were tried; judge the model on the test split.

    Args:
      recipe: with fusion "auto"; each candidate has its own default settings.
    """
    names, validation_data, num_classes = (
        outputs.names,
        outputs.validation_data,
        len(data.labels.labels),
    )
    dims = {name: validation_data[f"{name}_embedding"].shape[-1] for name in names}
    rows = [_alone(name, validation_data) for name in names]
    fitted: dict[str, tuple[keras.Model, checkpoints.History]] = {}
    tried = [name for name in registry.names("fusions") if name not in EXCLUDED_FROM_AUTO]
    progress.print_message(
        f"left out for their size: {', '.join(EXCLUDED_FROM_AUTO)} (--set fusion=NAME trains one)"
    )
    for number, name in enumerate(tried):
        progress.print_message(f"fusion {number + 1} of {len(tried)}: {name}")
        candidate = dataclasses.replace(recipe, name=f"{recipe.name} {name}", fusion=name)
        candidate_options = dataclasses.replace(options, out=_folder(options.out, name))
        keras.utils.set_random_seed(options.seed)  # same seed for each, whichever ran before
        fusion = build_fusion(candidate, num_classes, dims)
        fitted[name] = fit_fusion(candidate, fusion, data, outputs, candidate_options)
        rows.append(_scored(name, *fitted[name], validation_data))
        _write(options.out, rows)
    best = max((row for row in rows if row.fusion in fitted), key=lambda row: row.ranking_key)
    rows = [dataclasses.replace(row, chosen=row is best) for row in rows]
    _write(options.out, rows)
    _show(rows)
    _take_over(_folder(options.out, best.fusion), options.out)
    note = (
        f"fusion {best.fusion} is the best of {len(fitted)} on validation, whose scores are"
        " therefore too high"
    )
    return SelectedFusion(*fitted[best.fusion], note)


def remove_candidates(out: Path) -> None:
    """Removes the folders of the candidates from a finished run."""
    storage_paths.remove_tree(out / CANDIDATES)


# === Scores ===


def _alone(stream: str, validation_data: Arrays) -> Candidate:
    truth, present = validation_data["truth"], validation_data[f"{stream}_present"] > 0
    logits = np.where(present[:, None], validation_data[f"{stream}_logits"], 0.0)
    score = classification.accuracies(truth, stream_predictions(logits, present))
    return Candidate(f"{stream} alone", score["uar"], score["wa"], _loss(logits, truth))


def _scored(
    name: str, fusion: keras.Model, history: checkpoints.History, validation_data: Arrays
) -> Candidate:
    logits, truth = fused_logits(fusion, validation_data), validation_data["truth"]
    score = classification.accuracies(truth, logits.argmax(axis=1))
    num_trainable_params = sum(int(np.prod(v.shape)) for v in fusion.trainable_variables)
    loss = _loss(logits, truth)
    return Candidate(
        name, score["uar"], score["wa"], loss, num_trainable_params, history.best_epoch or 0
    )


def _loss(logits: np.ndarray, truth: np.ndarray) -> float:
    temperature = calibration.most_likely_temperature(logits, truth)
    return calibration.nll(log_softmax(logits / temperature, axis=1), truth)


# === The run folder ===


def _folder(out: Path, name: str) -> Path:
    return out / CANDIDATES / name


def _write(out: Path, rows: list[Candidate]) -> None:
    columns = [field.name for field in dataclasses.fields(Candidate)]
    atomic_io.write_csv(out / CANDIDATES_CSV, columns, map(dataclasses.asdict, rows))


def _show(rows: list[Candidate]) -> None:
    width = max(len(row.fusion) for row in rows)
    progress.print_message(f"{'fusion':{width}}  UAR    WA     loss   on validation")
    for row in rows:
        mark = "  *" if row.chosen else ""
        progress.print_message(
            f"{row.fusion:{width}}  {row.val_uar:.3f}  {row.val_wa:.3f}  {row.val_loss:.3f}{mark}"
        )


def _take_over(candidate: Path, out: Path) -> None:
    """Copies table, curves and TensorBoard log of the selected fusion into the run folder."""
    for name in (run_folder.HISTORY, run_folder.CURVES):
        with atomic_io.atomic_write(out / name) as temporary:
            temporary.write_bytes((candidate / name).read_bytes())
    storage_paths.remove_tree(out / run_folder.TENSORBOARD)
    with storage_paths.local_copy(candidate / run_folder.TENSORBOARD) as log:
        storage_paths.upload(log, out / run_folder.TENSORBOARD)
