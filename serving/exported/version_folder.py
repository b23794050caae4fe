"""Reads and checks the config of exported versions without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io
from affectstream.core.errors import UserError, pluralize
from affectstream.preprocessing.media.video.frame_sampling import SAMPLING_MODES
from affectstream.preprocessing.windowing import WindowSettings

CONFIG_ASSET = "config.json"
VOCABULARY_ASSET = "vocabulary.txt"
SAVED_MODEL = "saved_model.pb"
DEFAULT_SIGNATURE = "serving_default"
# Also in `affectstream.modeling.runs.run_folder`, which imports TensorFlow.
RUN_FILE = "run.json"
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
# Keys of all exported formats.
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("labels", "streams", "data", "notes"), list),
    **dict.fromkeys(
        ("recipe", "preparation", "input", "calibration", "stream_info", "scores", "windows"), dict
    ),
    **dict.fromkeys(("synthetic", "leak_allowed"), bool),
    "label_set": str,
    "window_s": (int, float),
    "seed": int,
}
_STREAMS = {"audio", "video", "text"}


def read_config(path: Path) -> dict[str, Any]:
    """`assets/config.json` of an exported version.

    Raises:
      UserError: not an export, damaged, or see `check_config`.
    """
    file = path / "assets" / CONFIG_ASSET
    if not file.is_file():
        raise UserError(
            f"{path}: a SavedModel without {CONFIG_ASSET}; give one that `export` wrote"
        )
    return read_checked_config(file)


def read_checked_config(file: Path) -> dict[str, Any]:
    """The config in a file.

    Raises:
      UserError: absent, damaged, or see `check_config`.
    """
    try:
        config = atomic_io.read_json(file)
    except UserError as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"{file}: damaged ({error.__cause__}); export it again") from error
        raise
    check_config(config, file)
    return config


def read_vocabulary(path: Path) -> list[str]:
    """`assets/vocabulary.txt` of an exported version: tokens in id order; empty if it has none.

    Raises:
      UserError: not UTF-8.
    """
    file = path / "assets" / VOCABULARY_ASSET
    if not file.is_file():
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: damaged ({error}); export it again") from error
    # Not `splitlines`: vocabularies hold characters that it treats as line ends.
    return text.split("\n")[:-1]


def check_config(config: Any, file: Path, num_outputs: int | None = None) -> None:
    """Checks that a config has the keys and types that `export` writes.

    Args:
      file: source of the config, for the message.
      num_outputs: last dimension of the model's probabilities, if known.
    Raises:
      UserError: a value is missing or of another type, or the number of labels is wrong.
    """
    for problem in _problems(config, num_outputs):
        raise invalid_config_error(file, problem)


def invalid_config_error(file: Path, problem: str) -> UserError:
    """The error for a config that was changed or not written by `export`."""
    return UserError(f"{file}: not as `export` writes it ({problem}); export it again")


def _problems(config: Any, num_outputs: int | None) -> Iterator[str]:
    if not isinstance(config, dict):
        yield "no JSON object"
        return
    missing = [key for key in _TYPES if key not in config]
    if missing:
        yield f"lacks {', '.join(missing)}"
    for key, kind in _TYPES.items():
        value = config.get(key)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            yield f"{key} is {_shown(value)}"
    labels, streams = config["labels"], config["streams"]
    if not labels or not all(isinstance(label, str) for label in labels):
        yield "labels are no list of names"
    if not streams or not all(isinstance(s, str) and s in _STREAMS for s in streams):
        yield f"streams are {_shown(streams)}"
    if num_outputs is not None and len(labels) != num_outputs:
        yield f"{pluralize(len(labels), 'label')} for {pluralize(num_outputs, 'output')}"
    given, preparation = config["input"], config["preparation"]
    if not isinstance(config["recipe"].get("name"), str):
        yield "recipe lacks its name"
    sampling = preparation.get("sampling")
    if not isinstance(sampling, dict) or not is_count(sampling.get("num_frames")):
        yield "preparation lacks sampling.num_frames"
    elif (mode := sampling.get("mode")) not in SAMPLING_MODES:
        yield f"preparation.sampling.mode is {_shown(mode)}"
    try:
        WindowSettings(**config["windows"])
    except (TypeError, ValueError) as error:
        yield f"windows: {error}"
    if "audio" in streams and not is_count(given.get("sample_rate_hz"), 1):
        yield "input lacks sample_rate_hz"
    if "video" in streams and preparation.get("action_units") is None:
        if not all(is_count(given.get(key), 1) for key in ("face_size_px", "face_channels")):
            yield "input lacks face_size_px or face_channels"
        if not isinstance(preparation.get("face"), dict):
            yield "preparation lacks face"
        if not isinstance(preparation.get("detector"), str):
            yield "preparation lacks detector"


def is_count(value: Any, least: int = 0) -> bool:
    """Whether a config value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def require_model_name(name: str) -> None:
    """Checks the name of a model.

    Raises:
      UserError: the name is not allowed.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise UserError(
            f"--name {name!r}: not a name for a model; use letters, digits, _, - and . (at most 63)"
        )


def newest_version(path: Path) -> Path | None:
    """The export below `path`: itself, or its highest version; None if it is not an export."""
    if (path / SAVED_MODEL).is_file():
        return path
    versions = version_folders(path) if path.is_dir() else {}
    return versions[max(versions)] if versions else None


def version_number(path: Path) -> int | None:
    """Version number in a folder's name; None if the name is not a version number.

    Positive, ASCII digits without a leading 0 and within 64 bits, so that each number has one name.
    """
    name = path.name
    is_number = name.isascii() and name.isdigit() and name[0] != "0" and len(name) < 19
    return int(name) if is_number else None


def version_folders(home: Path) -> dict[int, Path]:
    """Version number -> folder; versions that are still being written are excluded.

    Raises:
      OSError: the folder cannot be read.
    """
    folders = {}
    for path in home.iterdir():
        number = version_number(path)
        if number is not None and (path / SAVED_MODEL).is_file():
            folders[number] = path
    return folders


def version_numbers(home: Path) -> list[int]:
    """Version numbers in a folder of versions, ascending; [] without versions."""
    return sorted(version_folders(home)) if home.is_dir() else []
