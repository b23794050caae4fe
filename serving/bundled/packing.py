"""Packs a run for bundling: weights as float16, no local paths, checked against the run itself."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectstream.core import atomic_io
from affectstream.core.errors import UserError, from_os_error
from affectstream.core.templates import render
from affectstream.modeling.runs import checksummed_zip
from affectstream.serving.bundled.bundled_models import (
    GOLDEN,
    NON_COMMERCIAL,
    NUM_CHECKS,
    is_non_commercial,
    max_difference,
    model_noise_outputs,
)
from affectstream.serving.export.model_card import CARD, card_scores, model_card, read_evaluations
from affectstream.serving.exported.version_folder import RUN_FILE

if TYPE_CHECKING:
    from affectstream.modeling.runs.run_folder import RunInfo

# Largest allowed change of any probability by packing.
TOLERANCE = 0.01
FLOAT16_NOTE = "weights stored as float16"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_MODEL = "best.keras"
# An absolute path, or one that leaves the folder, at the start of a word or after STREAM=.
_LOCAL_PATH = re.compile(r"(^|[\s=\"'])(?:~|\.\.?)?/(?:[^\s/\"']+/)*([^\s/\"']+)/?")


@dataclass(frozen=True)
class PackResult:
    """Result of packing a run.

    Attributes:
      num_bytes: of the whole folder.
      difference: largest change of a probability, over noise batches with missing streams.
    """

    path: Path
    num_bytes: int
    difference: float


def pack_run(
    run: Path,
    out: Path,
    parts: Mapping[str, Path] | None = None,
    pack_command: str = "",
    overwrite: bool = False,
) -> PackResult:
    """Writes a finished run as a small run folder without local paths, checked against the run.

    The folder contains `run.json`, `best.keras` with its weights as float16 (read back as float32),
    `MODEL_CARD.md`, `golden.json` (see `noise_outputs`), and the scores of `evaluate`, if there are
    any.

    Args:
      parts: for a fusion, the run of each stream; their recipes, commands and scores are kept.
      pack_command: the command that reproduces the packed folder.
    Raises:
      UserError: an unfinished run, an occupied `out`, or probabilities that changed by more than
        0.01.
    """
    from affectstream.modeling.evaluation.inference import client_config, load_run
    from affectstream.modeling.runs import checkpoints, run_folder
    from affectstream.modeling.runs.score_store import EVALUATION, METRICS, read_scores

    model, info = load_run(run)
    _require_free(out, run, overwrite)
    info = _without_paths(info, parts or {})
    evaluations = {folder: card_scores(scores) for folder, scores in read_scores(run).items()}
    with atomic_io.atomic_write(out) as temporary:
        temporary.mkdir()
        cast_float16(run / run_folder.BEST, temporary / _MODEL)
        after = model_noise_outputs(checkpoints.load_model(temporary / _MODEL), info)
        change = max_difference(model_noise_outputs(model, info), after)
        if not change <= TOLERANCE:
            raise UserError(
                f"{run}: as float16 a probability changes by {change:.2g}, more than {TOLERANCE:g};"
                " not packed"
            )
        golden = [{name: rows.tolist() for name, rows in one.items()} for one in after]
        atomic_io.write_text(temporary / GOLDEN, json.dumps(golden) + "\n")
        _write_lines(temporary / RUN_FILE, atomic_io.with_digest(info.as_json()))
        for folder, scores in evaluations.items():
            atomic_io.write_json(temporary / EVALUATION / folder.name / METRICS, scores)
        config = client_config(info) | {"pretrained": info.recipe.pretrained}
        card = model_card(config, list(evaluations.values()), out.name)
        card += _bundled_section(info, change, strip_local_paths(pack_command))
        atomic_io.write_text(temporary / CARD, card)
        if overwrite and out.exists():
            shutil.rmtree(out)
    return PackResult(out, folder_size_bytes(out), change)


def folder_size_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def strip_local_paths(text: str) -> str:
    """Shortens each local path in a command to its last name."""
    return _LOCAL_PATH.sub(r"\1\2", text)


def _require_free(out: Path, run: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.resolve() == run.resolve():
        raise UserError(f"{out}: is the run itself; choose another folder to pack into")
    if not overwrite or not (out / RUN_FILE).is_file():
        raise UserError(f"{out}: occupied; choose another folder or remove it first")


def _without_paths(info: RunInfo, runs: Mapping[str, Path]) -> RunInfo:
    from affectstream.modeling.runs.run_folder import read_run

    if unknown := sorted(set(runs) - set(info.stream_info)):
        raise UserError(f"{', '.join(unknown)}: no part of this run; leave it out of the parts")
    parts = {}
    for stream, part in info.stream_info.items():
        parts[stream] = dict(part)
        if stream in runs:
            own = read_run(runs[stream])
            parts[stream] |= {
                "trained": own.recipe.as_json(),
                "command": strip_local_paths(own.command),
                "git_revision": own.git_revision,
                "evaluation": read_evaluations(runs[stream]),
            }
    return dataclasses.replace(
        info,
        command=strip_local_paths(info.command),
        data=[{**one, "path": Path(one["path"]).name} for one in info.data],
        notes=tuple(dict.fromkeys([*info.notes, FLOAT16_NOTE])),
        stream_info=parts,
    )


def _write_lines(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON with one line per key; the lists of training clips are long."""

    def compact(one: Any) -> str:
        return json.dumps(one, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    lines = [f"{compact(key)}: {compact(own)}" for key, own in value.items()]
    atomic_io.write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _bundled_section(info: RunInfo, change: float, pack_command: str) -> str:
    commands = [part["command"] for part in info.stream_info.values() if "command" in part]
    commands += [info.command, pack_command]
    return render(
        "affectstream.serving.bundled",
        "bundled.md.j2",
        is_non_commercial=is_non_commercial(info.data),
        non_commercial=NON_COMMERCIAL,
        data=info.data,
        change=_rounded_up(change),
        num_checks=NUM_CHECKS,
        # A resumed run gives the same result, so --resume is dropped.
        commands=[command.replace(" --resume", "") for command in commands if command],
    )


def _rounded_up(value: float) -> float:
    """Rounds up to one digit, so that "no more than" stays true."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / unit) * unit


# === Weights ===


def cast_float16(source: Path, out: Path) -> None:
    """Copies a `.keras` file with its matrices as float16, without the optimizer.

    Vectors and scalars (biases, statistics, temperatures) stay float32: they are few, and a
    variance may exceed the largest float16. A matrix with such a value stays float32 as well.

    Raises:
      UserError: not a `.keras` file.
    """
    try:
        with zipfile.ZipFile(source) as given:
            members = {name: given.read(name) for name in given.namelist()}
        members[_WEIGHTS] = _half_weights(members[_WEIGHTS])
        config = json.loads(members[_CONFIG])
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{source}: no model of Keras ({error}); train it again") from error
    except OSError as error:
        raise from_os_error(error, source) from error
    members[_CONFIG] = json.dumps({**config, "compile_config": None}).encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    checksummed_zip.add_checksum(out)


def _half_weights(content: bytes) -> bytes:
    import h5py

    made = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as given, h5py.File(made, "w") as smaller:

        def copy(name: str, item: Any) -> None:
            if name.split("/")[0] == "optimizer":
                return
            if isinstance(item, h5py.Dataset):
                values = _stored(item[()])
                packing = {"compression": "gzip", "shuffle": True} if values.ndim else {}
                kept = smaller.create_dataset(name, data=values, **packing)
            else:
                kept = smaller.require_group(name)
            kept.attrs.update(item.attrs)

        smaller.attrs.update(given.attrs)
        given.visititems(copy)
    return made.getvalue()


def _stored(values: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.float32 or values.ndim < 2:
        return values
    if values.size and np.abs(values).max() > np.finfo(np.float16).max:
        return values
    return values.astype(np.float16)
