"""Log-mel spectrograms of several window lengths, as the channels of one image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras

from affectstream.modeling.features.audio.log_mel import SPEECH_80, LogMelConfig
from affectstream.modeling.features.audio.window import audio_window
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec


@dataclass(frozen=True)
class MultiResolution:
    """Several log-mel settings over the same segment of audio.

    A window of 32 ms follows articulation, but is too short to separate the harmonics of a low
    voice; a longer one shows how its pitch moves.

    Attributes:
      channels: settings that may differ only in `fft_samples`, `low_hz` and `high_hz`.
    Raises:
      ValueError: they differ in other fields.
    Source: several resolutions as channels after Toledano et al. 2018 ("Multi-resolution speech
      analysis for automatic speech recognition using deep neural networks").
    """

    channels: tuple[LogMelConfig, ...]

    def __post_init__(self) -> None:
        alike = {replace(one, fft_samples=0, low_hz=0.0, high_hz=0.0) for one in self.channels}
        if len(alike) != 1:
            raise ValueError("channels of one picture: the same window, hop and number of mels")
        if len({one.fft_samples for one in self.channels}) != len(self.channels):
            raise ValueError("channels of one picture: each with windows of its own length")

    @property
    def sample_rate_hz(self) -> int:
        return self.channels[0].sample_rate_hz

    @property
    def window_samples(self) -> int:
        return self.channels[0].window_samples

    @property
    def offset_samples(self) -> int:
        return self.channels[0].offset_samples

    @property
    def stream(self) -> str:
        return "audio"

    @property
    def standardise_axis(self) -> tuple[int, int]:
        """Each mel band of each channel is standardised separately."""
        return (1, 3)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(mels, frames, channels), the input shape of encoders."""
        return (self.channels[0].num_mels, self.channels[0].num_frames, len(self.channels))

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, mels, frames, channels) dB of the window.

        Raises:
          UserError: records of another sampling rate.
        """
        sound = audio_window(self, inputs, spec)
        spectrograms = [one.build(f"log_mel_{one.fft_samples}")(sound) for one in self.channels]
        pictures = [
            keras.layers.Reshape((*self.output_shape[:2], 1))(spectrogram)
            for spectrogram in spectrograms
        ]
        return Features(keras.layers.Concatenate(axis=3, name="pictures")(pictures))


# As `SPEECH_80`, plus low frequencies with windows of 64 and 128 ms: 80 x 301 x 3.
SPEECH_3X80 = MultiResolution(
    (
        SPEECH_80,
        replace(SPEECH_80, fft_samples=1024, high_hz=4000.0),
        replace(SPEECH_80, fft_samples=2048, high_hz=1500.0),
    )
)
