"""Facial action units or blendshapes, unchanged, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from affectstream.core.errors import UserError
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec


@dataclass(frozen=True)
class ActionUnits:
    """(batch, frames, units) float32, standardised for each unit, and the mask."""

    stream: str = "video"
    standardise_axis: int | None = 2

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """The values of `video` and the mask of the valid frames.

        Raises:
          UserError: records of face crops.
        """
        if not spec.action_units:
            raise UserError(
                "features 'action_units' need records of action units, these hold face crops;"
                " run `preprocess --action-units`, or choose a recipe for faces"
            )
        return Features(inputs["video"], inputs["video_mask"])


ACTION_UNITS = ActionUnits()
