"""Parameter types that click does not provide."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from affectstream.core import storage_paths

# Suffixes of other formats: a CSV file must not have one of them.
_OTHER_TABLES = frozenset(
    (".parquet", ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".npz", ".feather")
)


def resolve_path(text: str, use_listings_cache: bool = False) -> Path:
    """The path object of a path or URL, after a check that its store answers.

    Raises:
      UserError: from `storage_paths.storage_path` and `storage_paths.require_reachable`.
    """
    found = storage_paths.storage_path(text, use_listings_cache)
    storage_paths.require_reachable(found)
    return found


class StoragePath(click.ParamType):
    """A file or folder by path or URL.

    Args:
      use_listings_cache: see `storage_paths.storage_path`.
    """

    name = "path"

    def __init__(self, use_listings_cache: bool = False) -> None:
        self._is_listed = use_listings_cache

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, Path) else resolve_path(value, self._is_listed)


class OutputPath(StoragePath):
    """An output path outside the bundled models."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        storage_paths.require_outside_bundled(path)
        return path


# Folder of detector weights.
WEIGHTS_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


class FiniteRange(click.FloatRange):
    """A number within bounds; click accepts `nan`, and `inf` without an upper bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number; give one", param, ctx)
        return number


class LocalOutputPath(click.Path):
    """A local output file or folder outside the bundled models."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        storage_paths.require_outside_bundled(Path(path))
        return path


class OutputFile(LocalOutputPath):
    """An output file with one of the given endings.

    Args:
      endings: lower-case suffixes with their dots.
    """

    def __init__(self, *endings: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        if Path(path).suffix.lower() not in self._endings:
            self.fail(f"{path}: must end in {' or '.join(self._endings)}", param, ctx)
        return path


class OutputTable(LocalOutputPath):
    """An output table: CSV, or tab-separated if its name ends in .tsv."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        if Path(path).suffix.lower() in _OTHER_TABLES:
            self.fail(f"{path}: CSV is written; name a .csv, or a .tsv for tabs", param, ctx)
        return path


def require_distinct_paths(outputs: dict[str, Path | None], inputs: Iterable[Path]) -> None:
    """Raises click.UsageError if an output would replace an input or another output.

    Args:
      outputs: option -> output file, None if the option is not used.
    """
    taken = {path.resolve(): f"the input {path}" for path in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        same = next((i for i in taken if i == place or _is_same(i, place)), None)
        if same is not None:
            raise click.UsageError(f"{option} {path} would replace {taken[same]}; name another")
        taken[place] = f"what {option} writes"


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
