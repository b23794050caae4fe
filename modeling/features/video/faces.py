"""Face crops as images in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec


@keras.saving.register_keras_serializable(package="affectstream")
class AtLeastOneFrame(keras.layers.Layer):
    """Gives clips without frames a blank, masked one: oneDNN's convolution fails on empty input.

    Call:
      video: (batch, frames, height, width, channels) uint8, frames >= 0.
      mask: (batch, frames) bool.
    Returns:
      both, frames >= 1.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, autocast=False)

    def call(self, video: Any, mask: Any) -> Any:
        num_blank = tf.cast(tf.equal(tf.shape(video)[1], 0), tf.int32)
        none = [0, 0]
        video = tf.pad(video, [none, [0, num_blank], none, none, none])
        return video, tf.pad(mask, [none, [0, num_blank]])

    def compute_output_spec(self, video: Any, mask: Any) -> Any:
        return tuple(keras.KerasTensor(x.shape, x.dtype) for x in (video, mask))


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
        video, mask = AtLeastOneFrame(name="frames")(inputs["video"], inputs["video_mask"])
        return Features(keras.layers.Rescaling(1 / 255, name="faces")(video), mask)


FACES = Faces()
