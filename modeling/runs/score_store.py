"""Where the scores of a run are kept: a folder for each data and split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.modeling.runs import run_folder
from affectstream.preprocessing.dataset.data_folder import DataFolder

METRICS = "metrics.json"
# In it: which weights were scored.
MODEL_DIGEST_KEY = "model_sha256"
EVALUATION = "evaluation"
# Where the scores of bundled models go.
BUNDLED_EVALUATIONS = Path("evaluations")
_MAX_NAMED = 3


def evaluation_root(run: Path) -> Path:
    """The folder of all scores of a run: in the run, or `evaluations/NAME` of a bundled model."""
    return (
        BUNDLED_EVALUATIONS / run.resolve().name
        if storage_paths.is_bundled(run)
        else run / EVALUATION
    )


def evaluation_folder(home: Path, folders: Sequence[DataFolder], split: str) -> Path:
    """Where the scores on some data are kept: `HOME/DATA-SPLIT`, of one path one.

    Data of the same name that lie elsewhere and hold something else get the digest of what they
    hold behind the name, so that no score takes another's place.

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
    """The name of data by their path: its last part, of a feature table without the ending."""
    found = Path(path)
    name = found.name if found.name not in ("", ".", "..") else found.resolve().name
    return name.removesuffix(".csv").removesuffix(".parquet") or "data"


def read_scores(run: Path, split: str = "") -> dict[Path, dict[str, Any]]:
    """The scores that are kept in a run: folder -> what its `metrics.json` holds.

    Those of the weights that the run had before it was trained further are not among them.

    Args:
      split: only those on this split.
    Raises:
      UserError: a file is damaged.
    """
    home = run / EVALUATION
    if not home.is_dir():
        return {}
    found = {path.parent: atomic_io.read_json(path) for path in sorted(home.glob(f"*/{METRICS}"))}
    if any(MODEL_DIGEST_KEY in scores for scores in found.values()):
        model = model_digest(run)
        found = {
            path: scores
            for path, scores in found.items()
            if scores.get(MODEL_DIGEST_KEY, model) == model
        }
    return {path: scores for path, scores in found.items() if split in ("", scores.get("split"))}


def model_digest(run: Path) -> str:
    """SHA-256 of the weights of a run; "" before there are any."""
    file = run / run_folder.BEST
    return atomic_io.file_sha256(file) if file.is_file() else ""
