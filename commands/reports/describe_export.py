"""Facts about exported models for `describe`; loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from affectstream.core.errors import UserError
from affectstream.serving.exported.version_folder import (
    CONFIG_ASSET,
    DEFAULT_SIGNATURE,
    invalid_config_error,
    read_config,
)

SIDES = ("inputs", "outputs")


def export_facts(version: Path) -> dict[str, Any]:
    """Facts about one exported version.

    Raises:
      UserError: not an export, or damaged.
    """
    config = _config(version)
    number = int(version.name) if version.name.isdecimal() else None
    return {
        "kind": "export" + model_warnings(config),
        "path": str(version),
        **_model(config),
        "card": card_of(version, config, version=number),
    }


def bundle_facts(path: Path) -> dict[str, Any]:
    """Facts about a bundle for TensorFlow Serving; model facts are those of its newest version.

    Raises:
      UserError: `models.config` or the newest version is damaged.
    """
    from affectstream.serving.exported.bundle_folder import read_bundle

    bundle = read_bundle(path)
    newest = bundle.versions[-1]
    version = bundle.home / str(newest)
    config = _config(version)
    states = {
        str(number): _labels_of(number, bundle.labels)
        if number in bundle.served_versions
        else "not served, as models.config says"
        for number in bundle.versions
    }
    for number in sorted({*bundle.labels.values(), *bundle.missing_versions} - {*bundle.versions}):
        states[str(number)] = f"{_labels_of(number, bundle.labels)}, but it is not there"
    return {
        "kind": "bundle" + model_warnings(config),
        "path": str(path),
        "name": bundle.name,
        "served versions": states,
        "files": sorted(file.name for file in path.iterdir() if file.is_file()),
        "described below": f"version {newest}",
        **_model(config),
        "card": card_of(version, config, bundle.name, newest),
    }


def litert_facts(path: Path) -> dict[str, Any]:
    """Facts about a `.tflite` and its config.

    Raises:
      UserError: see `read_litert_config`.
    """
    from affectstream.serving.inference.litert_model import LITERT, read_litert_config

    config = read_litert_config(path)
    own = config[LITERT]
    rest = {key: value for key, value in config.items() if key not in (LITERT, "signatures")}
    return {
        "kind": "LiteRT model" + model_warnings(config),
        "path": str(path),
        "inputs": _describe_specs(own["inputs"]),
        **{key: value for key, value in own.items() if key != "inputs"},
        **_describe_config(rest),
        "card": card_of(path, config),
    }


def describe_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of the kept epoch, on training and validation separately."""
    from affectstream.serving.export.model_card import training_scores, validation_scores

    if not scores:
        return {}
    return {
        "epoch kept": scores.get("epoch"),
        "scores on validation": validation_scores(scores),
        "scores on its own training part, during that epoch": training_scores(scores),
    }


def describe_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """The streams of a fusion and their scores, see `describe_scores`."""
    return {
        stream: {
            name: one
            for key, value in part.items()
            for name, one in (describe_scores(value) if key == "scores" else {key: value}).items()
        }
        for stream, part in parts.items()
    }


def _describe_config(config: dict[str, Any]) -> dict[str, Any]:
    scores = describe_scores(config.get("scores") or {})
    rest = {key: value for key, value in config.items() if key != "scores"}
    return rest | scores | {"parts": describe_parts(config.get("stream_info") or {})}


def card_of(path: Path, config: dict[str, Any], name: str = "", version: int | None = None) -> str:
    """The model card.

    Args:
      path: of the model, for the message.
    Raises:
      UserError: the config lacks an entry that the card needs.
    """
    from jinja2 import UndefinedError

    from affectstream.serving.export.model_card import model_card

    try:
        return model_card(config, name=name, version=version)
    except (KeyError, TypeError, AttributeError, UndefinedError) as error:
        raise UserError(
            f"{path}: its config is not as `export` writes it ({error}); export it again"
        ) from error


def model_warnings(facts: dict[str, Any]) -> str:
    """Warnings to show with every score: synthetic data, allowed leak."""
    return (" (SYNTHETIC data)" if facts.get("synthetic") else "") + (
        " (LEAK ALLOWED)" if facts.get("leak_allowed") else ""
    )


def _labels_of(number: int, labels: dict[str, int]) -> str:
    return " and ".join(sorted(k for k, v in labels.items() if v == number)) or "no label"


def _config(version: Path) -> dict[str, Any]:
    config = read_config(version)
    if not _are_signatures(config.get("signatures")):
        file = version / "assets" / CONFIG_ASSET
        raise invalid_config_error(file, "signatures do not tell inputs and outputs")
    return config


def _are_signatures(value: Any) -> bool:
    """Whether every signature has specs of its inputs and outputs, and the default exists."""
    if not isinstance(value, dict) or DEFAULT_SIGNATURE not in value:
        return False
    sides = [s.get(side) if isinstance(s, dict) else None for s in value.values() for side in SIDES]
    sides_present = [side for side in sides if isinstance(side, dict)]
    if len(sides_present) < len(sides):
        return False
    specs = [spec for side in sides_present for spec in side.values()]
    return all(
        isinstance(spec, dict) and isinstance(spec.get("shape"), list) and "dtype" in spec
        for spec in specs
    )


def _model(config: dict[str, Any]) -> dict[str, Any]:
    """`config.json`, with signatures in short form."""
    signatures = config["signatures"]
    return {
        **{side: _describe_specs(signatures[DEFAULT_SIGNATURE][side]) for side in SIDES},
        "signatures": {
            name: {side: ", ".join(signature[side]) for side in SIDES}
            for name, signature in signatures.items()
        },
        **{key: value for key, value in _describe_config(config).items() if key != "signatures"},
    }


def _describe_specs(specs: dict[str, Any]) -> dict[str, str]:
    """Name -> shape, ? for any length, and dtype."""
    shapes = {
        name: f"{tuple('?' if size in (-1, None) else size for size in spec['shape'])}"
        for name, spec in specs.items()
    }
    return {k: f"{v} {specs[k]['dtype']}".replace("'", "") for k, v in shapes.items()}
