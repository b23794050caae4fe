"""Cuts a model's window from a waveform of any length, inside the graph."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling.features.front_end import AudioFrontEnd
from affectstream.modeling.input_spec import InputSpec


@keras.saving.register_keras_serializable(package="affectstream")
class FitWindow(keras.layers.Layer):
    """Cuts or zero-pads each waveform of a batch to one fixed window.

    The window starts `offset_samples` into the waveform, or earlier if a waveform is too short;
    missing samples at the end are zero. Samples beyond `audio_length` are ignored, so a clip alone
    and the same clip inside a padded batch give the same window.

    Args:
      window_samples: length of the result.
      offset_samples: start of the window in a waveform that is long enough.
    Call:
      audio: (batch, samples) float32, samples >= 0.
      audio_length: (batch,) int, valid samples of each; 0 where the stream is missing.
    Returns:
      (batch, window_samples) float32.
    """

    def __init__(self, window_samples: int, offset_samples: int = 0, **kwargs: Any) -> None:
        # Audio stays in single precision under any precision policy.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.window_samples = window_samples
        self.offset_samples = offset_samples

    def call(self, audio: Any, audio_length: Any) -> Any:
        audio = tf.pad(tf.cast(audio, tf.float32), [[0, 0], [0, 1]])
        last = tf.shape(audio)[1] - 1
        length = tf.clip_by_value(tf.cast(audio_length, tf.int32), 0, last)
        start = tf.clip_by_value(length - self.window_samples, 0, self.offset_samples)
        index = start[:, None] + tf.range(self.window_samples)[None, :]
        samples = tf.gather(audio, tf.minimum(index, last), axis=1, batch_dims=1)
        return tf.where(index < length[:, None], samples, tf.zeros_like(samples))

    def compute_output_shape(self, audio_shape: Any, audio_length_shape: Any = None) -> Any:
        return (audio_shape[0], self.window_samples)

    def get_config(self) -> dict[str, Any]:
        mine = {"window_samples": self.window_samples, "offset_samples": self.offset_samples}
        return {**super().get_config(), **mine}


def audio_window(
    front_end: AudioFrontEnd, inputs: dict[str, keras.KerasTensor], spec: InputSpec
) -> keras.KerasTensor:
    """(batch, window_samples) float32: the window of `audio` that a front end reads.

    Raises:
      UserError: the records have another sampling rate than the front end.
    """
    rate_hz = front_end.sample_rate_hz
    if spec.sample_rate_hz != rate_hz:
        raise UserError(
            f"these features are made for {rate_hz} Hz, the records hold {spec.sample_rate_hz} Hz;"
            f" preprocess with --sample-rate {rate_hz} or choose other features"
            " (--set features=NAME)"
        )
    window = FitWindow(front_end.window_samples, front_end.offset_samples, name="window")
    return window(inputs["audio"], inputs["audio_length"])
