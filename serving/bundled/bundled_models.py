"""Bundled models: small run folders that are shipped with the program, in `pretrained/`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.serving.exported.version_folder import RUN_FILE

if TYPE_CHECKING:
    import keras

    from affectstream.modeling.runs.run_folder import RunInfo

BUNDLED_DIR = storage_paths.BUNDLED_MODELS_DIR
EMOTION = "emotion"
TEXT = "text"
# Stream -> name of the bundled model that uses it.
BUNDLED_MODEL_OF = {"audio": EMOTION, "video": EMOTION, "text": TEXT}

NUM_CHECKS = 5
NON_COMMERCIAL = "non-commercial use only"

# Outputs at the time of packing; a test compares them with the current outputs.
GOLDEN = "golden.json"
Outputs = dict[str, np.ndarray]

_FREE_LICENCES = ("CC0", "CC BY 4", "CC BY-SA 4", "MIT", "Apache", "public domain")


# === Finding ===


def bundled_model_path(name: str) -> Path:
    """The run folder of a bundled model.

    Args:
      name: "emotion" (audio and video) or "text".
    Raises:
      UserError: it does not exist.
    """
    path = BUNDLED_DIR / name
    if not is_bundled_model(name):
        held = sorted(found.parent.name for found in BUNDLED_DIR.glob(f"*/{RUN_FILE}"))
        raise UserError(
            f"{path}: no such bundled model (there: {', '.join(held) or 'none'});"
            " make it with `python -m benchmarks.accuracy.pretrained`, or name a run of your own"
        )
    return path


def is_bundled_model(name: str) -> bool:
    """Whether a bundled model has that name."""
    return (BUNDLED_DIR / name / RUN_FILE).is_file()


def resolve_init_run(path: Path, stream: str) -> Path:
    """Resolves `--init-from`: a run folder, or `pretrained[/NAME]` for a bundled model.

    Args:
      stream: the stream to be trained; `pretrained` alone selects the model that has it.
    Raises:
      UserError: no such bundled model.
    """
    if (path / RUN_FILE).is_file() or path.parts[:1] != (BUNDLED_DIR.name,) or len(path.parts) > 2:
        return path
    return bundled_model_path(path.parts[1] if len(path.parts) == 2 else BUNDLED_MODEL_OF[stream])


def run_summary(path: Path) -> str:
    """Streams, UAR and licence terms of a run in one line; test UAR if every stream has one."""
    info = atomic_io.read_json(path / RUN_FILE)
    streams = " + ".join(info["streams"])
    parts = list(info["stream_info"].items())
    if not any(part["scores"] for _, part in parts):
        parts = [(streams, info)]
    kind = "validation"
    uars = {name: part["scores"].get("val_uar") for name, part in parts}
    tested = {
        name: [one for one in part.get("evaluation", ()) if one["split"] == "test"]
        for name, part in parts
    }
    if all(tested.values()):
        kind, uars = "test", {name: found[0]["uar"] for name, found in tested.items()}
    found = [f"{name} {uar:.2f}" for name, uar in uars.items() if uar is not None]
    summary = f"{streams}, {kind} UAR {', '.join(found) or 'unknown'}"
    return f"{summary}; {NON_COMMERCIAL}" if is_non_commercial(info["data"]) else summary


def is_non_commercial(data: list[dict[str, Any]]) -> bool:
    """Whether any licence of the data may forbid commercial use."""
    return any(not str(one["licence"]).startswith(_FREE_LICENCES) for one in data)


# === Outputs ===


def noise_outputs(run: Path) -> list[Outputs]:
    """Outputs of a run for reproducible noise batches; see `GOLDEN`."""
    from affectstream.modeling.evaluation.inference import load_run

    return model_noise_outputs(*load_run(run))


def model_noise_outputs(model: keras.Model, info: RunInfo) -> list[Outputs]:
    from affectstream.modeling.evaluation.inference import inference_model
    from affectstream.serving.export.savedmodel_export import example_inputs

    inference = inference_model(model, info)
    found = []
    for seed in range(NUM_CHECKS):
        made = inference(example_inputs(model, seed), training=False)
        kept = {name: np.asarray(made[name]) for name in made if name.endswith("probabilities")}
        found.append(kept)
    return found


def max_difference(first: list[Outputs], second: list[Outputs]) -> float:
    """The largest difference of any probability."""
    pairs = zip(first, second, strict=True)
    return max(float(np.abs(a[name] - b[name]).max()) for a, b in pairs for name in a)


def read_golden(path: Path) -> list[Outputs]:
    """Stored outputs of a bundled model at the time of packing, see `noise_outputs`."""
    return [
        {name: np.array(rows, np.float32) for name, rows in one.items()}
        for one in atomic_io.read_json(path / GOLDEN)
    ]
