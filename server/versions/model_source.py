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
      labels: name -> number, as written; the version may be absent.
      num_latest: the newest so many are to be served; None: all.
      missing_versions: numbers that are asked for by name and are not there.
    """

    versions: dict[int, Path]
    labels: dict[str, int] = field(default_factory=dict)
    num_latest: int | None = None
    missing_versions: tuple[int, ...] = ()


class VersionSource(Protocol):
    """Names a model and tells which versions of it there are."""

    @property
    def name(self) -> str: ...

    def find_versions(self) -> FoundVersions:
        """What is there now.

        Raises:
          UserError, OSError: cannot be told at the moment; what was there still counts.
        """
        ...


def open_source(path: Path, name: str | None = None) -> VersionSource:
    """Recognises what `path` is.

    Args:
      path: a bundle (`models.config` in it), an export folder of versions, or one version.
      name: of the model; when None that of the bundle, else the folder's.
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
    here = " (the current folder)" if path == Path() else ""  # `--model ''` says it too
    raise UserError(f"{path}{here}: no exported model in it; {REMEDY}")


def _checked(name: str | None, folder: Path) -> str:
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", folder.name).strip("-")[:63] or "model"
    require_model_name(name)
    return name


# === Kinds ===


@dataclass(frozen=True)
class SingleVersionSource:
    """A single version; gone when its folder is."""

    path: Path
    name: str
    number: int

    def find_versions(self) -> FoundVersions:
        there = (self.path / SAVED_MODEL).is_file()
        return FoundVersions({self.number: self.path} if there else {})


@dataclass(frozen=True)
class ExportFolderSource:
    """A folder of versions, of which the newest is served."""

    path: Path
    name: str

    def find_versions(self) -> FoundVersions:
        return FoundVersions(version_folders(self.path), num_latest=1)


@dataclass(frozen=True)
class BundleSource:
    """What `export --serving` wrote: the versions and labels that `models.config` asks for."""

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
