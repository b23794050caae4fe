"""Face crops as pictures in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from errors import UserError
from modeling.features.front_end import Features
from modeling.input_spec import InputSpec


@dataclass(frozen=True)
class Faces:
    """uint8 crops -> float32 in [0, 1], with the mask of the frames that show a face."""

    stream: str = "video"
    standardise_axis: int | None = None

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, frames, height, width, channels) float32 in [0, 1], and the mask.

        Raises:
          UserError: records of action units.
        """
        if spec.action_units:
            raise UserError(
                "features 'faces' need records of face crops, these hold action units; choose"
                " --recipe action-units, or run `preprocess` without --action-units"
            )
        scaled = keras.layers.Rescaling(1 / 255, name="faces")(inputs["video"])
        return Features(scaled, inputs["video_mask"])


FACES = Faces()
