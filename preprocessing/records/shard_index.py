"""The index of a shard: a JSON file beside it, written last, so it marks a complete shard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import UserError
from affectstream.preprocessing.dataset.data_folder import ClipRow


@dataclass(frozen=True)
class ShardIndex:
    """The contents of one shard and the inputs it was made from.

    Attributes:
      files: name -> size in bytes and SHA-256 of each written file.
      inputs: name of an input -> its fingerprint.
      rows: rows of `clips.csv`.
      rejected: fields of each rejection.
    """

    files: dict[str, tuple[int, str]]
    inputs: dict[str, str]
    rows: list[ClipRow] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the shard: its first file."""
        return next(iter(self.files))

    def write(self, path: Path) -> None:
        """Writes the index with its own digest."""
        rows = [row.as_cells() for row in self.rows]
        atomic_io.write_checksummed_json(path, {**dataclasses.asdict(self), "rows": rows})

    @classmethod
    def read(cls, path: Path) -> ShardIndex | None:
        """Reads the index at `path`; None if it, or one of its files, was changed."""
        try:
            fields = atomic_io.read_checksummed_json(path)
            fields["rows"] = [ClipRow.from_cells(_text(cells)) for cells in fields["rows"]]
            fields["files"] = {name: tuple(facts) for name, facts in fields["files"].items()}
            shard = cls(**fields)
        except (UserError, TypeError, KeyError, ValueError):
            return None
        return shard if all(map(shard._is_held_by, map(path.with_name, shard.files))) else None

    def _is_held_by(self, file: Path) -> bool:
        """Compares size and SHA-256; only the size in an object store, which checks content."""
        num_bytes, sha256 = self.files[file.name]
        if not file.is_file() or file.stat().st_size != num_bytes:
            return False
        return storage_paths.is_remote(file) or atomic_io.file_sha256(file) == sha256


def _text(cells: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in cells.items()}
