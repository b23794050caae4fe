"""Stores the scores of a run: one folder for each data set and split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.modeling.runs import run_folder
from affectstream.preprocessing.dataset.data_folder import DataFolder

METRICS = "metrics.json"
# Key in `metrics.json`: digest of the scored weights.
MODEL_DIGEST_KEY = "model_sha256"
EVALUATION = "evaluation"
# Folder for scores of bundled models.
BUNDLED_EVALUATIONS = Path("evaluations")
_MAX_NAMED = 3


def evaluation_root(run: Path) -> Path:
    """Folder of all scores of a run: in the run, or `evaluations/NAME` for a bundled model."""
    return (
        BUNDLED_EVALUATIONS / run.resolve().name
        if storage_paths.is_bundled(run)
        else run / EVALUATION
    )


def evaluation_folder(home: Path, folders: Sequence[DataFolder], split: str) -> Path:
    """Folder for the scores on some data: `HOME/DATA-SPLIT`; the same path gives the same folder.

    Other data of the same name get their content digest appended, so that no score overwrites
    another.


    Args:
      home: see `evaluation_root`.
      folders: the data.
      split: "train", "validation", "test" or "all".
    """
    names = list(dict.fromkeys(data_name(str(folder.path)) for folder in folders))
    more = f"+{len(names) - _MAX_NAMED}" if len(names) > _MAX_NAMED else ""
    path = home / f"{'+'.join(names[:_MAX_NAMED])}{more}-{split}"
    if not (path / METRICS).is_file():
        return path
    there, here = atomic_io.read_json(path / METRICS), data_identity(folders)
    is_same = any(there.get(key) == here[key] for key in here)
    return path if is_same else path.with_name(f"{path.name}-{here['data_digest'][:8]}")


def data_identity(folders: Sequence[DataFolder]) -> dict[str, Any]:
    """Paths and digest that identify the data, as stored in `metrics.json`."""
    return {
        "data": [str(folder.path) for folder in folders],
        "data_digest": atomic_io.digest([[f.content(), f.splits.parts] for f in folders]),
    }


def data_name(path: str) -> str:
    """Name of data by path: the last component, without the extension for a feature table."""
    data_path = Path(path)
    name = data_path.name if data_path.name not in ("", ".", "..") else data_path.resolve().name
    return name.removesuffix(".csv").removesuffix(".parquet") or "data"


def read_scores(run: Path, split: str = "") -> dict[Path, dict[str, Any]]:
    """The scores stored in a run: folder -> content of its `metrics.json`.

    Scores of earlier weights, from before further training, are excluded.


    Args:
      split: only those on this split.
    Raises:
      UserError: a file is damaged.
    """
    home = run / EVALUATION
    if not home.is_dir():
        return {}
    scores_by_folder = {
        path.parent: atomic_io.read_json(path) for path in sorted(home.glob(f"*/{METRICS}"))
    }
    if any(MODEL_DIGEST_KEY in scores for scores in scores_by_folder.values()):
        model = model_digest(run)
        scores_by_folder = {
            path: scores
            for path, scores in scores_by_folder.items()
            if scores.get(MODEL_DIGEST_KEY, model) == model
        }
    return {
        path: scores
        for path, scores in scores_by_folder.items()
        if split in ("", scores.get("split"))
    }


def model_digest(run: Path) -> str:
    """SHA-256 of the weights of a run; "" if it has none yet."""
    file = run / run_folder.BEST
    return atomic_io.file_sha256(file) if file.is_file() else ""
