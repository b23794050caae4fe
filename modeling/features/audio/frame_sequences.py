"""Front ends with one feature vector per frame of a window."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from affectstream.modeling.features.audio.audio_frames import Framing
from affectstream.modeling.features.audio.frame_features import (
    FrameFeatures,
    FrameMask,
    descriptor_names,
)
from affectstream.modeling.features.audio.window import audio_window
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec


@dataclass(frozen=True)
class SequenceConfig:
    """Features of each frame of a 3 s window from 0.5 s, at 16 kHz: 188 frames, one every 16 ms.

    Attributes:
      parts: keys of `FRAME_DESCRIPTORS`.
      sample_rate_hz: of the records.
      window_samples: segment of audio that the model reads.
      offset_samples: where that segment starts in a longer clip.
      fft_samples, hop_samples: see `Framing`.
    """

    parts: tuple[str, ...]
    sample_rate_hz: int = Framing.sample_rate_hz
    window_samples: int = 48_000
    offset_samples: int = 8_000
    fft_samples: int = Framing.fft_samples
    hop_samples: int = Framing.hop_samples
    stream: str = "audio"
    standardise_axis: int | None = 2

    @property
    def framing(self) -> Framing:
        return Framing(self.sample_rate_hz, self.fft_samples, self.hop_samples)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the last axis."""
        return descriptor_names(self.parts)

    @property
    def num_frames(self) -> int:
        return self.framing.num_frames(self.window_samples)

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, frames, dim) and the mask of the frames with audio; zeros elsewhere.

        Raises:
          UserError: records of another sampling rate.
        """
        waveform, length = audio_window(self, inputs, spec), inputs["audio_length"]
        framing = (self.sample_rate_hz, self.fft_samples, self.hop_samples)
        values = FrameFeatures(self.parts, *framing, name="frame_features")(waveform, length)
        mask = FrameMask(self.num_frames, self.hop_samples, name="frame_mask")(length)
        return Features(values, mask)


MFCC_CHROMA_SEQUENCE = SequenceConfig(("mfcc", "chroma"))
ACOUSTIC_SEQUENCE = SequenceConfig(
    (
        *("mfcc", "mfcc_delta", "mfcc_delta2", "chroma", "spectral_contrast"),
        *("centroid_hz", "bandwidth_hz", "roll_off_hz", "flatness", "zero_crossing_rate", "rms"),
    )
)
