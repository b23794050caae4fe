"""Log-mel spectrogram, computed in the graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from affectstream.modeling.features.audio.window import audio_window
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec

# The floor of librosa.power_to_db on power, and the range kept below the loudest bin.
MIN_POWER = 1e-10
RANGE_DB = 80.0


@dataclass(frozen=True)
class LogMelConfig:
    """Settings of the log-mel front end.

    Attributes:
      sample_rate_hz: of the records and of every input waveform.
      window_samples: segment of audio that the model reads.
      offset_samples: where that segment starts in a longer clip.
      fft_samples, hop_samples: length of the Hann window and its step.
      num_mels: bands of the Slaney mel scale from `low_hz` to `high_hz`.
    """

    sample_rate_hz: int
    window_samples: int
    offset_samples: int
    fft_samples: int
    hop_samples: int
    num_mels: int
    low_hz: float
    high_hz: float

    @property
    def num_frames(self) -> int:
        """Spectra per window, with frames centred on their hop."""
        return 1 + self.window_samples // self.hop_samples

    @property
    def stream(self) -> str:
        return "audio"

    @property
    def standardise_axis(self) -> int:
        """Each mel band is standardised separately."""
        return 1

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(mels, frames, 1), the input shape of encoders."""
        return (self.num_mels, self.num_frames, 1)

    def build(self, name: str = "log_mel") -> keras.layers.Layer:
        """The layer from (batch, window_samples) to (batch, mels, frames)."""
        return LogMel(**self._layer_settings(), name=name)

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, mels, frames, 1) dB of the window.

        Raises:
          UserError: records of another sampling rate.
        """
        spectrogram = self.build()(audio_window(self, inputs, spec))
        return Features(keras.layers.Reshape(self.output_shape, name="picture")(spectrogram))

    def _layer_settings(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k not in _WINDOW_FIELDS}


_WINDOW_FIELDS = ("window_samples", "offset_samples")

# 3 s from 0.5 s at 48 kHz, as in the two-stream system.
LOG_MEL_128_48K = LogMelConfig(48000, 144_000, 24_000, 1024, 512, 128, 50.0, 24_000.0)
# The same shape, 128 x 282, from 16 kHz; with 1024 points none of the 128 filters is empty.
LOG_MEL_128_16K = LogMelConfig(16000, 47_770, 8_000, 1024, 170, 128, 50.0, 8_000.0)
# 3 s from 0.5 s, a spectrum every 10 ms as in speech recognition: 80 x 301.
SPEECH_80 = LogMelConfig(16000, 48_000, 8_000, 512, 160, 80, 50.0, 8_000.0)


@keras.saving.register_keras_serializable(package="affectstream")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of mono waveforms.

    Call:
      waveform: (batch, samples) float32 in [-1, 1] at `sample_rate_hz`.
    Returns:
      (batch, mels, frames) float32, dB relative to the loudest bin of each waveform, floor -80.
    Attributes:
      transform_dtype: of the Fourier transform. A transform in single precision errs by more than
        1e-3 dB near the floor of a pure tone; only LiteRT uses "float32", its only type.
    Raises:
      ValueError: waveform is not rank 2.
    Source: Davis & Mermelstein 1980. Agrees to 1e-3 dB with librosa 0.11
      `power_to_db(melspectrogram(y, sr, n_fft, hop_length, n_mels, fmin, fmax), ref=np.max)`.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        fft_samples: int,
        hop_samples: int,
        num_mels: int,
        low_hz: float,
        high_hz: float,
        **kwargs: Any,
    ) -> None:
        # Decibels need more than half precision under any precision policy.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.sample_rate_hz = sample_rate_hz
        self.fft_samples = fft_samples
        self.hop_samples = hop_samples
        self.num_mels = num_mels
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.transform_dtype = "float64"
        self._filters: np.ndarray | None = None

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2:
            raise ValueError(f"waveform must be (batch, samples); received shape {input_shape}")
        from librosa.filters import mel

        self._filters = mel(
            sr=self.sample_rate_hz,
            n_fft=self.fft_samples,
            n_mels=self.num_mels,
            fmin=self.low_hz,
            fmax=self.high_hz,
        ).T.astype(np.float32)

    def call(self, waveform: Any) -> Any:
        half = self.fft_samples // 2
        padded = tf.pad(tf.cast(waveform, self.transform_dtype), [[0, 0], [half, half]])
        spectrum = tf.signal.stft(padded, self.fft_samples, self.hop_samples)
        power = tf.cast(tf.square(tf.abs(spectrum)), tf.float32) @ tf.constant(self._filters)
        level_db = (10.0 / np.log(10.0)) * tf.math.log(tf.maximum(power, MIN_POWER))
        level_db -= tf.reduce_max(level_db, axis=[1, 2], keepdims=True)
        return tf.transpose(tf.maximum(level_db, -RANGE_DB), [0, 2, 1])

    def compute_output_shape(self, input_shape: Any) -> Any:
        samples = input_shape[1]
        frames = None if samples is None else 1 + samples // self.hop_samples
        return (input_shape[0], self.num_mels, frames)

    def get_config(self) -> dict[str, Any]:
        names = ["sample_rate_hz", "fft_samples", "hop_samples", "num_mels", "low_hz", "high_hz"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
