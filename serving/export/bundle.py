"""`export --serving`: writes a folder from which TensorFlow Serving can be started.

TensorFlow Serving is not needed to write it. The README.md of every bundle
(`serving/export/templates/README.md`) states what is tested and what is not.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.core.templates import render
from affectstream.modeling.features.text.wordpieces import SEP
from affectstream.modeling.runs.run_folder import read_run
from affectstream.serving.export import warmup
from affectstream.serving.export.model_card import CARD, model_card, write_card
from affectstream.serving.export.savedmodel_export import export
from affectstream.serving.export.warmup import InputSpec, Signatures
from affectstream.serving.exported.bundle_folder import MODELS, MODELS_CONFIG, bundle_model_name
from affectstream.serving.exported.version_folder import (
    DEFAULT_SIGNATURE,
    VOCABULARY_ASSET,
    read_config,
    version_numbers,
)

TEMPLATES = Path(__file__).with_name("templates")
TEMPLATE_NAMES = (
    "README.md",
    "batching.config",
    "client.py",
    "docker-compose.yaml",
    "monitoring.config",
    "request.sh",
)
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
EXECUTABLE = 0o755


def write_bundle(
    run: Path,
    folder: Path,
    name: str | None = None,
    version: int | None = None,
    text_input: str = "string",
) -> Path:
    """Adds a version to a bundle, creating it if necessary, and rewrites its other files.

    The version and its warm-up appear together or not at all; `models.config` is written last.

    Args:
      run: finished run.
      name: name of the model; None uses that of the bundle, else that of the run folder.
      version: None uses the next free number.
      text_input: see `export`.
    Returns:
      `folder/models/NAME/VERSION`.
    Raises:
      UserError: bad name, `folder` holds other files, or `export` refuses the run.
    """
    read_run(run)
    require_bundle_or_empty(folder)
    name = _chosen_name(run, folder, name)
    home = folder / MODELS / name
    taken = version_numbers(home)
    target = home / str(version if version is not None else max(taken, default=0) + 1)
    if target.exists():
        raise UserError(
            f"{target}: exists already; versions are never overwritten, leave --version out"
        )
    try:
        atomic_io.remove_stale_temporaries(home)
        with (
            atomic_io.atomic_write(target) as temporary,
            tempfile.TemporaryDirectory(
                prefix=f"export{atomic_io.TEMPORARY_MARK}", dir=home
            ) as staging,
        ):
            version_folder = export(run, Path(staging), int(target.name), text_input)
            warmup.write_warmup(version_folder, name)
            config = read_config(version_folder)
            write_card(version_folder, config, name, int(target.name))
            texts = _texts(name, int(target.name), version_folder, config)
            version_folder.replace(temporary)
    except BaseException:
        _remove_empty(home, folder / MODELS, folder)
        raise
    for file, text in texts.items():
        with atomic_io.atomic_write(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
            if file.endswith(".sh"):
                temporary.chmod(EXECUTABLE)
    atomic_io.write_text(folder / MODELS_CONFIG, models_config(name, version_numbers(home)))
    return target


# === What is there ===


def require_bundle_or_empty(folder: Path) -> None:
    """Accepts a bundle, one whose first export was interrupted, an empty folder, or none.

    Raises:
      UserError: it holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; --serving wants a folder, a new one or a bundle")
    if not folder.is_dir() or (folder / MODELS_CONFIG).is_file():
        return
    ours = {MODELS, CARD, "client.json", "request.json", *TEMPLATE_NAMES}
    names = (path.name for path in folder.iterdir())
    foreign = sorted(n for n in names if n not in ours and atomic_io.TEMPORARY_MARK not in n)
    if foreign:
        raise UserError(
            f"{folder}: not empty and not a bundle ({foreign[0]} is there, {MODELS_CONFIG} is not);"
            " choose another --serving folder"
        )


def _chosen_name(run: Path, folder: Path, name: str | None) -> str:
    there = bundle_model_name(folder)
    if name is None:
        name = there or re.sub(r"[^A-Za-z0-9_]+", "-", run.resolve().name).strip("-")[:63]
    if not NAME_PATTERN.fullmatch(name):
        raise UserError(
            f"--name {name!r}: not a name for a model; use letters, digits, _, - and . (at most 63)"
        )
    if there not in (None, name):
        raise UserError(
            f"{folder}: holds the model {there}; use --name {there}, or another --serving folder"
        )
    return name


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


# === Files beside the versions ===


def _texts(name: str, version: int, saved: Path, config: dict[str, Any]) -> dict[str, str]:
    """File -> text of all files but `models.config`, made before the version appears."""
    signatures = warmup.read_signatures(saved)
    inputs = smallest_request(signatures[DEFAULT_SIGNATURE], config.get("max_tokens"))
    body = {"signature_name": DEFAULT_SIGNATURE, "inputs": inputs}
    texts = {
        file: (TEMPLATES / file).read_text(encoding="utf-8").replace("@NAME@", name)
        for file in TEMPLATE_NAMES
    }
    return texts | {
        "client.json": json.dumps(
            _client_facts(name, config, signatures, _end_token(saved)), indent=1
        )
        + "\n",
        "request.json": json.dumps(body, separators=(",", ":")) + "\n",
        CARD: model_card(config, name=name, version=version),
    }


def models_config(name: str, versions: list[int]) -> str:
    """Text of a ModelServerConfig that serves all versions.

    With the policy `all` a server loads a new version when its folder appears, before it reads a
    label for it. A label in use may move only to a loaded version.

    Args:
      versions: ascending, at least one.
    Source: tensorflow/serving, config/model_server_config.proto (ModelConfig: name = 1,
      base_path = 2, model_platform = 4, model_version_policy = 7, version_labels = 8) and
      g3doc/serving_config.md.
    """
    stable, canary = versions[-2:][0], versions[-1]
    return render(
        "affectstream.serving.export",
        "models.config.j2",
        name=name,
        models=MODELS,
        stable=stable,
        canary=canary,
    )


def _client_facts(
    name: str, config: dict[str, Any], signatures: Signatures, end_token: int | None
) -> dict[str, Any]:
    return {
        "model": name,
        "labels": config["labels"],
        "sample_rate_hz": config["input"].get("sample_rate_hz"),
        "window_s": config["window_s"],
        "windows": config["windows"],
        "max_tokens": config.get("max_tokens"),
        "end_token": end_token,
        "preparation": config["preparation"],
        "inputs": _specs_json(signatures[DEFAULT_SIGNATURE]),
        "signatures": {key: _specs_json(inputs) for key, inputs in signatures.items()},
    }


def _end_token(saved: Path) -> int | None:
    """Id of the word piece that ends every text; None if tokens are not word pieces."""
    file = saved / "assets" / VOCABULARY_ASSET
    if not file.is_file():
        return None
    vocabulary = file.read_text(encoding="utf-8").split("\n")
    return vocabulary.index(SEP) if SEP in vocabulary else None


def _specs_json(inputs: dict[str, InputSpec]) -> dict[str, Any]:
    return {
        key: {"dtype": "string" if spec.dtype == "object" else spec.dtype, "shape": spec.shape}
        for key, spec in inputs.items()
    }


def smallest_request(inputs: dict[str, InputSpec], max_tokens: int | None = None) -> dict[str, Any]:
    """A JSON-ready request of one row in which one stream is present and the others are filled.

    A text model gets a short sentence, an audio model one sample of silence, a video model one
    black frame after the leading blank one (see templates/client.py). Token ids are padded to
    `max_tokens`.
    """
    streams = ("text", "token_ids", "audio", "video")
    present = next((stream for stream in streams if stream in inputs), None)
    num_frames = 2 if present == "video" else 1
    request: dict[str, Any] = {}
    for name, spec in inputs.items():
        if name == "text":
            request[name] = ["What a day this was."]
        elif name == "token_ids":
            request[name] = [[1] + [0] * ((max_tokens or 1) - 1)]
        elif name == "audio":
            request[name] = [[0.0]]
        elif name == "audio_length":
            request[name] = [int(present == "audio")]
        elif name == "video_mask":
            request[name] = [[False] + [True] * (num_frames - 1)]
        elif name == "video":
            shape = (1, num_frames, *(size or 1 for size in spec.shape[2:]))
            request[name] = np.zeros(shape, spec.dtype).tolist()
        else:
            raise UserError(f"input {name}: no filler is known for it; the bundle needs one")
    return request
