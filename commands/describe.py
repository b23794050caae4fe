"""`describe`: what a run, an export, a bundle or a data folder is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from affectstream.commands.options.param_types import StoragePath
from affectstream.commands.reports.describe_export import (
    bundle_facts,
    card_of,
    describe_parts,
    describe_scores,
    export_facts,
    litert_facts,
    model_warnings,
)
from affectstream.core import storage_paths
from affectstream.core.errors import UserError
from affectstream.core.templates import render

CARD = "card"
KINDS = "a run, an export, a bundle, a .tflite or a data folder"


@click.command("describe")
@click.argument("path", type=StoragePath())
@click.option("--json", "as_json", is_flag=True)
def command(path: Path, as_json: bool) -> None:
    """Says what PATH is: counts, shapes, dtypes, labels, data, split, scores.

    PATH is a run, an export, a bundle for TensorFlow Serving, a .tflite or a data folder. The card
    of a model follows.
    """
    facts = describe(path)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    card = facts.pop(CARD, None)
    click.echo(render("affectstream.commands", "facts.txt.j2", facts=facts), nl=False)
    if card is not None:
        click.echo(f"\n{card}", nl=False)


def describe(path: Path) -> dict[str, Any]:
    """Facts about a run, an export, a bundle or a data folder, ready for JSON.

    Returns:
      for a model, it also contains the model card under "card", as Markdown.

    Raises:
      UserError: PATH is none of these.
    """
    from affectstream.preprocessing.dataset.data_folder import is_data_folder
    from affectstream.serving.exported.bundle_folder import is_bundle
    from affectstream.serving.exported.version_folder import RUN_FILE, newest_version
    from affectstream.serving.inference.litert_model import config_file, is_litert

    if not path.exists():
        raise UserError(f"{path}: no such path; give {KINDS}")
    if is_litert(path):
        copy = storage_paths.fetch_to_local(path, config_file(path))
        return _named(litert_facts(copy), copy, path)
    if is_data_folder(path):
        return _data(path)
    if (path / RUN_FILE).is_file():
        return _run(path)
    here = storage_paths.fetch_to_local(path)
    if is_bundle(here):
        return _named(bundle_facts(here), here, path)
    version = newest_version(here)
    if version is not None:
        return _named(export_facts(version), here, path)
    raise UserError(f"{path}: not {KINDS}; check the path")


def _named(facts: dict[str, Any], copy: Path, path: Path) -> dict[str, Any]:
    """Replaces the path of the local copy by the original path."""
    return {**facts, "path": facts["path"].replace(str(copy), str(path), 1)}


def _data(path: Path) -> dict[str, Any]:
    from affectstream.preprocessing.dataset.data_folder import open_data_folder
    from affectstream.preprocessing.dataset.splits import speakers_of

    folder = open_data_folder(path)
    rows = folder.subset("all")
    return {
        "kind": "data folder" + (" (SYNTHETIC)" if folder.synthetic else ""),
        "path": str(path),
        "corpus": folder.settings["corpus"],
        "licence": folder.settings["licence"],
        "citation": folder.settings["citation"],
        "records": len(folder.rows),
        "left out": dict(Counter(r.excluded.partition(":")[0] for r in folder.rows if r.excluded)),
        "labels": dict(sorted(Counter(row.label for row in rows).items())),
        "speakers": len(speakers_of(rows)) or "unknown",
        "streams": {s: sum(s in row.streams for row in rows) for s in ("audio", "video", "text")},
        "audio": f"(samples,) int16 at {folder.sample_rate_hz} Hz",
        "video": _video(folder),
        "frames without a face": sum(r.num_frames - r.num_faces for r in rows),
        "split": {
            name: {"records": len(ids), "speakers": len(speakers_of(folder.subset(name)))}
            for name, ids in folder.splits.parts.items()
        },
        "split rule": folder.splits.rule,
        "notes": list(folder.splits.notes),
        "preparation": folder.settings["preparation"],
    }


def _video(folder: Any) -> str:
    units = folder.action_units
    if units is not None:
        return f"(frames, {len(units.names)}) float32, action units of {units.source}"
    crop = ", ".join(map(str, folder.crop_format.shape))
    return f"(frames, {crop}) uint8, detector {folder.settings['preparation']['detector']}"


def _run(path: Path) -> dict[str, Any]:
    from affectstream.modeling.runs.run_folder import BEST, read_run
    from affectstream.serving.export.model_card import read_evaluations

    info = read_run(path)
    facts: dict[str, Any] = {
        "kind": "run" + ("" if info.finished else " (unfinished)") + model_warnings(vars(info)),
        "path": str(path),
        "streams": list(info.streams),
        "recipe": info.recipe.as_json(),
        "labels": list(info.labels),
        "data": info.data,
        "speakers trained on": len(info.train_footprint.speakers) or "unknown",
        "notes": list(info.notes),
        **describe_scores(info.scores),
        "temperature": info.calibration.temperature,
        "parts": describe_parts(info.stream_info),
        "seed": info.seed,
        "ensemble size": len(info.ensemble_members),
        "versions": info.versions,
        "git revision": info.git_revision,
        "command": info.command,
    }
    evaluations = read_evaluations(path)
    if evaluations:
        facts["evaluation"] = evaluations
    if info.finished:
        from affectstream.modeling.evaluation.inference import client_config
        from affectstream.modeling.runs import checkpoints

        model = checkpoints.load_model(path / BEST)
        facts |= {"parameters": model.count_params(), **_shapes(model.input, model.output)}
        late = (
            next((x for x in model.get_layer("fusion").layers if hasattr(x, "settings")), None)
            if (len(info.streams) > 1)
            else None
        )
        if late is not None:
            facts["fusion"] = late.settings(info.streams)
        facts[CARD] = card_of(path, client_config(info) | {"evaluation": evaluations})
    return facts


def _shapes(inputs: Any, outputs: Any) -> dict[str, Any]:
    def specs_text(tensors: Any) -> dict[str, str]:
        return {k: f"{tuple(v.shape)} {v.dtype}".replace("None", "?") for k, v in tensors.items()}

    return {"inputs": specs_text(inputs), "outputs": specs_text(outputs)}
