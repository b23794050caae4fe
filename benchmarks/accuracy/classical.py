"""What classical features and logistic regression reach on the folds of a crossval."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.modeling.crossval.folds import Fold
from affectstream.modeling.metrics import classification
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.labels import LabelSet
from affectstream.preprocessing.records.record import Record, read_records

# An impossible class of one stream may still be the other's.
MIN_PROBABILITY = 1e-6
REGULARIZATION_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def records_of(data: DataFolder, rows: Sequence[ClipRow]) -> Iterator[Record]:
    """The records of `rows`, in the order of the shards."""
    known = {row.id: row for row in rows}
    for path in data.shard_paths(rows):
        yield from read_records(path, known)


def compare_functionals(data: DataFolder, rows: Sequence[ClipRow], kept: Path) -> np.ndarray:
    """(clips, 6373) float32 functionals of ComParE 2016 in the order of `rows`.

    Args:
      kept: `.npz` where they are written and found again.
    Raises:
      UserError: opensmile is not installed.
    Source: Schuller et al. 2016; openSMILE, Eyben et al. 2010.
    """
    ids = [row.id for row in rows]
    if kept.is_file():
        with np.load(kept) as stored:
            if stored["ids"].tolist() == ids:
                return stored["values"]
    if importlib.util.find_spec("opensmile") is None:
        raise UserError(
            "opensmile is not installed; type: pip install -r requirements-benchmarks.txt"
        )
    place = {name: str(number) for number, name in enumerate(ids)}
    waveforms = {place[record.id]: record.waveform for record in records_of(data, rows)}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        given_arrays: dict[str, Any] = {"rate_hz": data.sample_rate_hz, **waveforms}
        np.savez(given, **given_arrays)
        command = [
            sys.executable,
            "-m",
            "benchmarks.accuracy.compare_functionals",
            str(given),
            str(made),
        ]
        subprocess.run(command, check=True)
        values: np.ndarray = np.load(made)["values"]
    with atomic_io.atomic_write(kept) as temporary, open(temporary, "wb") as file:
        np.savez(file, ids=ids, values=values)
    return values


def action_unit_means(data: DataFolder, rows: Sequence[ClipRow]) -> np.ndarray:
    """(clips, units) float32: action units averaged over the valid frames."""
    found = {r.id: r.faces[r.face_mask].mean(axis=0) for r in records_of(data, rows)}
    return np.stack([found[row.id] for row in rows])


def log_probabilities(
    features: np.ndarray,
    rows: Sequence[ClipRow],
    labels: LabelSet,
    folds: Sequence[Fold],
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """(clips, classes) out-of-fold log-probabilities of standardised logistic regression.

    The strength of the penalty is the one with the best UAR on the fold's validation speakers; then
    these train too, so that the regression sees more speakers than a network does.

    Args:
      features: (clips, dim) float in the order of `rows`.
      names: by which clips are put into folds, other than their speakers, to show a leak.
    """
    truth = np.array([labels.index(row.label) for row in rows])
    speakers = np.array([row.speaker for row in rows] if names is None else names)
    found = np.zeros((len(rows), len(labels.labels)))
    for fold in folds:
        test, watched = np.isin(speakers, fold.test), np.isin(speakers, fold.validation)
        train = ~test & ~watched

        def uar(strength: float, train: np.ndarray = train, watched: np.ndarray = watched) -> float:
            guesses = fit_logistic_regression(features[train], truth[train], strength).predict(
                features[watched]
            )
            return classification.accuracies(truth[watched], guesses)["uar"]

        best = max(REGULARIZATION_STRENGTHS, key=uar)
        model = fit_logistic_regression(features[~test], truth[~test], best)
        found[test] = np.log(np.maximum(model.predict_proba(features[test]), MIN_PROBABILITY))
    return found


def fit_logistic_regression(
    features: np.ndarray, truth: np.ndarray, strength: float
) -> LogisticRegression:
    """Standardised logistic regression; classes count alike.

    The clips are first turned into the space that they span: with an L2 penalty that changes no
    answer, and 6,373 features of 1,000 clips become 1,000.

    Args:
      features: (clips, dim) float.
      truth: (clips,) int.
      strength: C, the inverse of the penalty.
    """
    model = make_pipeline(
        StandardScaler(),
        PCA(svd_solver="full"),
        LogisticRegression(C=strength, class_weight="balanced", max_iter=300),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, truth)
