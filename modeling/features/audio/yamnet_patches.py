"""YAMNet's input: patches of its own log-mel spectrogram, computed in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from affectstream.modeling.features.audio.window import audio_window
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec

# Settings of the published YAMNet; they are fixed.
SAMPLE_RATE_HZ = 16_000
STFT_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
NUM_MELS = 64
LOW_HZ, HIGH_HZ = 125.0, 7500.0
LOG_OFFSET = 0.001
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
# Duration of one patch, and the step to the next one.
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + STFT_SAMPLES
PATCH_HOP_SAMPLES = PATCH_HOP_FRAMES * HOP_SAMPLES


@dataclass(frozen=True)
class YamnetPatchesConfig:
    """Patches of 0.96 s, one every 0.48 s.

    Attributes:
      num_patches: number of patches that are read; 6 cover 3.375 s.
      offset_samples: where the window starts in a longer clip.
    """

    num_patches: int = 6
    offset_samples: int = 8_000
    sample_rate_hz: int = SAMPLE_RATE_HZ
    stream: str = "audio"
    standardise_axis: int | None = None

    @property
    def window_samples(self) -> int:
        """Exactly the length of the patches."""
        return PATCH_SAMPLES + (self.num_patches - 1) * PATCH_HOP_SAMPLES

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(patches, frames, mels), the input shape of the encoder."""
        return (self.num_patches, PATCH_FRAMES, NUM_MELS)

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, patches, 96, 64), and the mask of the patches with audio.

        Raises:
          UserError: records of another sampling rate.
        """
        waveform = audio_window(self, inputs, spec)
        mask = PatchMask(self.num_patches, name="patch_mask")(inputs["audio_length"])
        return Features(YamnetPatches(name="yamnet_patches")(waveform), mask)


YAMNET_PATCHES = YamnetPatchesConfig()


@keras.saving.register_keras_serializable(package="affectstream")
class YamnetPatches(keras.layers.Layer):
    """Patches of YAMNet's log-mel spectrogram.

    Magnitude (not power) of a 25 ms periodic Hann window each 10 ms, 64 bands of the HTK mel scale
    from 125 to 7,500 Hz, log(x + 0.001).

    Call:
      waveform: (batch, samples) float32 in [-1, 1] at 16 kHz, 15,600 samples or more.
    Returns:
      (batch, patches, 96, 64) float32; only whole patches.
    Raises:
      ValueError: waveform is not rank 2.
    Source: Plakal & Ellis, YAMNet features (tensorflow/models, research/audioset/yamnet).
    """

    def __init__(self, **kwargs: Any) -> None:
        # Logarithms need more than half precision under any precision policy.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2:
            raise ValueError(f"waveform must be (batch, samples); received shape {input_shape}")

    def call(self, waveform: Any) -> Any:
        spectrum = tf.signal.stft(waveform, STFT_SAMPLES, HOP_SAMPLES, FFT_SAMPLES)
        filters = tf.signal.linear_to_mel_weight_matrix(
            NUM_MELS, FFT_SAMPLES // 2 + 1, SAMPLE_RATE_HZ, LOW_HZ, HIGH_HZ
        )
        log_mel = tf.math.log(tf.abs(spectrum) @ filters + LOG_OFFSET)
        return tf.signal.frame(log_mel, PATCH_FRAMES, PATCH_HOP_FRAMES, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        samples = input_shape[1]
        patches = None if samples is None else 1 + (samples - PATCH_SAMPLES) // PATCH_HOP_SAMPLES
        return (input_shape[0], patches, PATCH_FRAMES, NUM_MELS)


@keras.saving.register_keras_serializable(package="affectstream")
class PatchMask(keras.layers.Layer):
    """Mask of the patches that the published YAMNet would make from a clip.

    Call:
      audio_length: (batch,) int, samples of each clip; 0 where the stream is missing.
    Returns:
      (batch, num_patches) bool: the first is True for any audio, each further one if the audio
      continues beyond the patches before it.
    """

    def __init__(self, num_patches: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_patches = num_patches

    def call(self, audio_length: Any) -> Any:
        further = tf.range(self.num_patches - 1) * PATCH_HOP_SAMPLES + PATCH_SAMPLES
        covered = tf.concat([[0], further], axis=0)
        return tf.cast(audio_length, tf.int32)[:, None] > covered[None, :]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.num_patches)

    def compute_output_spec(self, audio_length: Any) -> Any:
        return keras.KerasTensor((audio_length.shape[0], self.num_patches), dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_patches": self.num_patches}
