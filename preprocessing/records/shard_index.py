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
    """What was written for one shard, and from what.

    Attributes:
      files: name -> size in bytes and SHA-256 of each file, as it was written.
      inputs: name of an input -> its fingerprint.
      rows: of `clips.csv`.
      rejected: fields of each rejection.
    """

    files: dict[str, tuple[int, str]]
    inputs: dict[str, str]
    rows: list[ClipRow] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the shard: the first file."""
        return next(iter(self.files))

    def write(self, path: Path) -> None:
        """Writes the index, with a digest of its own."""
        rows = [row.as_cells() for row in self.rows]
        atomic_io.write_checksummed_json(path, {**dataclasses.asdict(self), "rows": rows})

    @classmethod
    def read(cls, path: Path) -> ShardIndex | None:
        """The index at `path`; None where it, or a file of it, is not what was written."""
        try:
            told = atomic_io.read_checksummed_json(path)
            told["rows"] = [ClipRow.from_cells(_text(cells)) for cells in told["rows"]]
            told["files"] = {name: tuple(facts) for name, facts in told["files"].items()}
            shard = cls(**told)
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
