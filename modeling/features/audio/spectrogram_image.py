"""Spectrogram images for networks trained on photographs."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from affectstream.modeling.features.audio.log_mel import RANGE_DB, LogMelConfig
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec

WHITE = 255.0


@dataclass(frozen=True)
class SpectrogramImageConfig:
    """A log-mel spectrogram as a grey image: the loudest bin white, 80 dB below it black.

    Attributes:
      log_mel: bands, frames and window.
    """

    log_mel: LogMelConfig
    stream: str = "audio"
    standardise_axis: int | None = None

    @property
    def sample_rate_hz(self) -> int:
        return self.log_mel.sample_rate_hz

    @property
    def window_samples(self) -> int:
        return self.log_mel.window_samples

    @property
    def offset_samples(self) -> int:
        return self.log_mel.offset_samples

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(mels, frames, 1), the input shape of encoders."""
        return self.log_mel.output_shape

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, mels, frames, 1) float32 in [0, 255], the lowest band in the first row.

        Raises:
          UserError: records of another sampling rate.
        """
        level_db = self.log_mel.connect(inputs, spec).values
        grey = keras.layers.Rescaling(WHITE / RANGE_DB, WHITE, dtype="float32", name="grey")
        return Features(grey(level_db))


# 3 s from 0.5 s at 16 kHz, 128 x 188.
SPECTROGRAM_IMAGE = SpectrogramImageConfig(
    LogMelConfig(16_000, 48_000, 8_000, 1024, 256, 128, 50.0, 8_000.0)
)
