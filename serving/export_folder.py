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
    versions = [p for p in path.glob("*") if p.name.isdecimal() and (p / SAVED_MODEL).is_file()]
    return max(versions, key=lambda p: int(p.name)) if versions else None


def versions_of(home: Path) -> list[int]:
    """Numbers of the versions in a folder of versions, ascending; [] where none is."""
    if not home.is_dir():
        return []
    return sorted(
        int(path.name)
        for path in home.iterdir()
        if path.name.isdecimal() and (path / SAVED_MODEL).is_file()
    )
