"""Sources of model versions: a bundle, a folder of versions, or a single version."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from affectstream.core.errors import UserError
from affectstream.serving.exported.bundle_folder import is_bundle, read_bundle
from affectstream.serving.exported.version_folder import (
    RUN_FILE,
    SAVED_MODEL,
    require_model_name,
    version_folders,
    version_number,
)
from affectstream.serving.inference.litert_model import is_litert

REMEDY = "give what `export --run RUN --out OUT` or `export --run RUN --serving DIR` wrote"


@dataclass(frozen=True)
class FoundVersions:
    """The versions that exist at one poll.

    Attributes:
      versions: number -> folder.
      labels: name -> number, as written; the version may be missing.
      num_latest: number of newest versions to serve; None serves all.
      missing_versions: explicitly requested numbers that do not exist.
    """

    versions: dict[int, Path]
    labels: dict[str, int] = field(default_factory=dict)
    num_latest: int | None = None
    missing_versions: tuple[int, ...] = ()


class VersionSource(Protocol):
    """Names a model and lists its versions."""

    @property
    def name(self) -> str: ...

    def find_versions(self) -> FoundVersions:
        """Lists the existing versions.

        Raises:
          UserError, OSError: the list cannot be read at the moment; the previous one remains valid.
        """
        ...


def open_source(path: Path, name: str | None = None) -> VersionSource:
    """Opens `path` as the matching kind of source.

    Args:
      path: a bundle (with `models.config`), an export folder of versions, or one version.
      name: name of the model; None uses the bundle's, else the folder's.
    Raises:
      UserError: none of these, or a bad name.
    """
    if (path / RUN_FILE).is_file():
        raise UserError(
            f"{path}: a run folder; `export --run {path} --out OUT` first, then serve OUT"
        )
    if is_litert(path) and not path.is_dir():
        raise UserError(f"{path}: made for `predict --model`; serve wants an export: {REMEDY}")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: a file; serve wants a folder: {REMEDY}")
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; {REMEDY}")
    if is_bundle(path):
        return BundleSource(path, _bundle_name(path, name))
    if (path / SAVED_MODEL).is_file():
        number = version_number(path) or 1
        folder = path.resolve().parent if version_number(path) else path.resolve()
        return SingleVersionSource(path, _checked(name, folder), number)
    if version_folders(path):
        return ExportFolderSource(path, _checked(name, path.resolve()))
    here = " (the current folder)" if path == Path() else ""  # `--model ''` has the same effect
    raise UserError(f"{path}{here}: no exported model in it; {REMEDY}")


def _checked(name: str | None, folder: Path) -> str:
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", folder.name).strip("-")[:63] or "model"
    require_model_name(name)
    return name


# === Kinds ===


@dataclass(frozen=True)
class SingleVersionSource:
    """A single version, until its folder is removed."""

    path: Path
    name: str
    number: int

    def find_versions(self) -> FoundVersions:
        exists = (self.path / SAVED_MODEL).is_file()
        return FoundVersions({self.number: self.path} if exists else {})


@dataclass(frozen=True)
class ExportFolderSource:
    """A folder of versions; the newest is served."""

    path: Path
    name: str

    def find_versions(self) -> FoundVersions:
        return FoundVersions(version_folders(self.path), num_latest=1)


@dataclass(frozen=True)
class BundleSource:
    """A bundle of `export --serving`: serves the versions and labels in `models.config`."""

    path: Path
    name: str

    def find_versions(self) -> FoundVersions:
        bundle = read_bundle(self.path)
        if bundle.name != self.name:
            raise UserError(f"{self.path}: holds {bundle.name} now, no longer {self.name}")
        versions = version_folders(bundle.home)
        if bundle.specific is not None:
            versions = {n: folder for n, folder in versions.items() if n in bundle.specific}
        return FoundVersions(versions, bundle.labels, bundle.num_latest, bundle.missing_versions)


def _bundle_name(folder: Path, name: str | None) -> str:
    there = read_bundle(folder).name
    if name not in (None, there):
        raise UserError(f"{folder}: holds the model {there}; use --name {there}, or leave it out")
    return _checked(there, folder)
