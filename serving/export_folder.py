"""What an exported version says of itself; read without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import storage
from errors import UserError

CONFIG_ASSET = "config.json"
SAVED_MODEL = "saved_model.pb"


def read_config(path: Path) -> dict[str, Any]:
    """`assets/config.json` of an exported version.

    Raises:
      UserError: not one of our exports.
    """
    file = path / "assets" / CONFIG_ASSET
    if not file.is_file():
        raise UserError(
            f"{path}: a SavedModel without {CONFIG_ASSET}; give one that `export` wrote"
        )
    return storage.read_json(file)


def newest_version(path: Path) -> Path | None:
    """The export below `path`: itself, or its highest version; None if it is no export."""
    if (path / SAVED_MODEL).is_file():
        return path
    versions = versions_in(path) if path.is_dir() else {}
    return versions[max(versions)] if versions else None


def number_of(path: Path) -> int | None:
    """Version number that a folder's name says; None if it is none.

    Positive, ASCII digits without a leading 0 and within 64 bits, so that one number has one name.
    """
    name = path.name
    is_number = name.isascii() and name.isdigit() and name[0] != "0" and len(name) < 19
    return int(name) if is_number else None


def versions_in(home: Path) -> dict[int, Path]:
    """Number -> folder of the versions in a folder; what is being written there is left out.

    Raises:
      OSError: the folder cannot be read.
    """
    found = {}
    for path in home.iterdir():
        number = number_of(path)
        if number is not None and (path / SAVED_MODEL).is_file():
            found[number] = path
    return found


def versions_of(home: Path) -> list[int]:
    """Numbers of the versions in a folder of versions, ascending; [] where none is."""
    return sorted(versions_in(home)) if home.is_dir() else []
