"""Selects the records that a training or evaluation reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.labels import LabelSet
from affectstream.preprocessing.records.record import damaged_shard, read_records


@dataclass(frozen=True)
class Subset:
    """Records chosen from some data folders.

    Attributes:
      folders: data folders of the records.
      rows: selected records of each folder; each has a label of the label set.
    """

    folders: tuple[DataFolder, ...]
    rows: tuple[tuple[ClipRow, ...], ...]

    @property
    def all_rows(self) -> list[ClipRow]:
        return [row for rows in self.rows for row in rows]

    def folder_with_stream(self, stream: str) -> DataFolder:
        """First folder with a selected record that has the stream; the first folder if none has.

        A folder without faces has no usable face settings.
        """
        pairs = zip(self.folders, self.rows, strict=True)
        return next((f for f, rows in pairs if any_has_stream(rows, stream)), self.folders[0])

    def available_streams(self, streams: Sequence[str]) -> tuple[str, ...]:
        """Streams that at least one selected record has."""
        return tuple(s for s in streams if any(any_has_stream(rows, s) for rows in self.rows))

    @property
    def speakers(self) -> np.ndarray:
        """(records,) str: speaker of each record, or its recording if unknown; in row order."""
        return np.array([row.cluster for row in self.all_rows])

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def require_intact_shards(self) -> None:
        """Reads every shard completely.

        Raises:
          UserError: a shard is absent, damaged or lacks a record; the message names it.
        """
        for folder, rows in zip(self.folders, self.rows, strict=True):
            for path in folder.shard_paths(rows):
                wanted = {row.id: row for row in rows if row.shard == path.name}
                held = {
                    record.id: int(record.face_mask.sum()) for record in read_records(path, wanted)
                }
                if held != {row.id: row.num_faces for row in wanted.values()}:
                    raise damaged_shard(path)


def any_has_stream(rows: Sequence[ClipRow], stream: str) -> bool:
    """Whether any of the records has the stream."""
    return any(stream in row.streams for row in rows)


def select_records(
    folders: Sequence[DataFolder], split: str, labels: LabelSet, streams: Sequence[str]
) -> Subset:
    """Records of a split that have a label of the set and at least one of the streams."""
    rows = tuple(
        tuple(
            row
            for row in folder.subset(split)
            if labels.index(row.label) is not None and set(row.streams) & set(streams)
        )
        for folder in folders
    )
    return Subset(tuple(folders), rows)


def class_indices(part: Subset, labels: LabelSet) -> np.ndarray:
    """(records,) int: class of each record, in the order of the rows."""
    return np.array([labels.index(row.label) for row in part.all_rows], np.int64)
