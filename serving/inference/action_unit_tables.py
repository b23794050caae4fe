"""OpenFace action units as input of `predict`: a table beside the recordings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.preprocessing.faces.action_units import (
    MEDIAPIPE,
    OPENFACE,
    ActionUnitSpec,
    ActionUnitTable,
    ActionUnitTrack,
)
from affectstream.preprocessing.faces.face_finder import Face
from affectstream.serving.inference.windows import TrackedFrame

TABLE_HINT = "give OpenFace's table with --action-units FILE"
# A table does not contain the position of the face.
_NOWHERE = FaceBox(0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class ActionUnitInput:
    """The model's action-unit input, if it uses no face crops.

    Attributes:
      kind: source and names; None for a model with face crops or without video.
      patterns: file name patterns of the training corpora, to find a recording under its other
        names.
    """

    kind: ActionUnitSpec | None
    patterns: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ActionUnitInput:
        """Creates it from `assets/config.json`."""
        kind = config["preparation"].get("action_units")
        if "video" not in config["streams"] or kind is None:
            return cls(None)
        known = {data["corpus"] for data in config["data"]} & set(registry.names("corpora"))
        candidates = [registry.load("corpora", name).recording_pattern for name in sorted(known)]
        patterns = tuple(pattern for pattern in candidates if pattern is not None)
        return cls(ActionUnitSpec.from_json(kind), patterns)

    @property
    def from_mediapipe(self) -> bool:
        return self.kind is not None and self.kind.source == MEDIAPIPE

    @property
    def from_table(self) -> bool:
        return self.kind is not None and self.kind.source == OPENFACE

    def select_columns(self, table: ActionUnitTable | None) -> ActionUnitTable | None:
        """The table with the columns that the model was trained on.

        Raises:
          UserError: the model uses no table, or the table lacks a column.
        """
        if table is None:
            return None
        if self.kind is None or not self.from_table:
            wanted = "face crops or none" if self.kind is None else f"those of {self.kind.source}"
            raise UserError(
                f"{table.path}: the model takes no action units of OpenFace (it was trained on"
                f" {wanted}); leave --action-units out"
            )
        return table.select(self.kind.names)

    def find_track(self, table: ActionUnitTable | None, path: Path) -> ActionUnitTrack | None:
        """Returns the rows of one recording."""
        if table is None:
            return None
        tries = (table.find(str(path)), *(table.find(path.name, p) for p in self.patterns))
        return next((track for track in tries if track is not None), None)

    def missing_reason(self, table: ActionUnitTable | None) -> str:
        """Reason why there are no action units."""
        return (
            f"no action units ({TABLE_HINT})" if table is None else f"no row for it in {table.path}"
        )


def rows_between(track: ActionUnitTrack, start_s: float, end_s: float) -> list[TrackedFrame]:
    """Table rows between two times, in place of video frames."""
    rows = track.slice_time(start_s, end_s)
    times_s = rows.times_s if rows.times_s is not None else ()
    return [
        TrackedFrame(
            float(time_s), {0: Face(_NOWHERE, values)} if is_valid else {}, 0 if is_valid else None
        )
        for time_s, values, is_valid in zip(times_s, rows.values, rows.mask, strict=True)
    ]
