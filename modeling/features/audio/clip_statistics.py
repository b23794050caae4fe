"""276 audio statistics of a clip."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import (
    MIN_POWER,
    AudioFrames,
    Framing,
    power_to_db,
)
from affectstream.modeling.features.audio.autocorrelation import voice_autocorrelation
from affectstream.modeling.features.audio.frame_features import FRAME_DESCRIPTORS, descriptor_names
from affectstream.modeling.features.audio.harmonic import harmonic
from affectstream.modeling.features.audio.mel import NUM_MELS, mel_power
from affectstream.modeling.features.audio.rms import rms
from affectstream.modeling.features.audio.window import audio_window
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec

# A frame is silent if its RMS is at most this share of the clip's mean RMS.
SILENCE_THRESHOLD = 0.4

SIGNAL_NAMES = (
    *("signal_abs_mean", "signal_std", "rms_mean", "rms_std", "silence_ratio"),
    *("harmonic_abs_mean", "autocorrelation_max", "autocorrelation_std"),
)
MEAN_DESCRIPTORS = ("chroma", "spectral_contrast", "zero_crossing_rate")
STATISTIC_NAMES = (
    *SIGNAL_NAMES,
    *(f"{name}_{how}" for how in ("mean", "std", "max") for name in descriptor_names(["mfcc"])),
    *(f"{name}_mean" for name in descriptor_names(["chroma"])),
    *(f"mel_db_{number:03d}" for number in range(1, NUM_MELS + 1)),
    *(f"{name}_mean" for name in descriptor_names(MEAN_DESCRIPTORS[1:])),
)


@keras.saving.register_keras_serializable(package="affectstream")
class AcousticStatistics(keras.layers.Layer):
    """276 statistics of each clip, in the order of `STATISTIC_NAMES`.

    Deviations are population deviations (`numpy.std`). Frames have 1,024 samples, the hop is 256.

    - `signal_abs_mean`, `signal_std`: mean magnitude of the samples (their plain mean is only an
      offset), and their deviation.
    - `rms_mean`, `rms_std`: of the frames' RMS. `silence_ratio`: share of the frames whose RMS is
      at most 0.4 of `rms_mean`; 1 for digital silence.
    - `harmonic_abs_mean`: mean magnitude of the harmonic part (`harmonic.harmonic`).
    - `autocorrelation_max`, `_std`: over the lags of voices, 50 to 400 Hz, of the autocorrelation
      relative to lag 0 (`autocorrelation.voice_autocorrelation`).
    - `mfcc_NN_mean`, `_std`, `_max`: 40 each. `chroma_*_mean`: 12.
    - `mel_db_NNN`: 128 bands, 10 log10 of the mean mel power, at least -100.
    - `spectral_contrast_NN_mean`: 7, dB. `zero_crossing_rate_mean`.

    Each clip is processed alone and without its padding, so padding costs nothing, and memory does
    not grow with the batch.

    Call:
      waveform: (batch, samples) float32 in [-1, 1], samples >= 1.
      length: (batch,) int, valid samples of each; a length of 0 counts as one sample of
        whatever the row begins with, which `FitWindow` makes silence.
    Returns:
      (batch, 276) float32. Agrees with numpy's statistics of librosa 0.11's features, to 1e-3 for
      decibels and coefficients and to 1e-5 for all others.
    Raises:
      ValueError: waveform is not rank 2.
    """

    def __init__(
        self,
        sample_rate_hz: int = Framing.sample_rate_hz,
        fft_samples: int = Framing.fft_samples,
        hop_samples: int = Framing.hop_samples,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.framing = Framing(sample_rate_hz, fft_samples, hop_samples)

    def call(self, waveform: Any, length: Any) -> Any:
        if len(waveform.shape) != 2:
            raise ValueError(f"waveform must be (batch, samples); received shape {waveform.shape}")
        length = tf.clip_by_value(tf.cast(length, tf.int32), 1, tf.shape(waveform)[1])
        return tf.map_fn(
            lambda clip: self._of_one(clip[0][: clip[1]]),
            (waveform, length),
            fn_output_signature=tf.TensorSpec((len(STATISTIC_NAMES),), tf.float32),
            parallel_iterations=2,
        )

    def _of_one(self, waveform: Any) -> Any:
        """(276,) float32 of (samples,) float32."""
        sound = AudioFrames(waveform[None], tf.shape(waveform)[:1], self.framing)
        coefficients = FRAME_DESCRIPTORS["mfcc"].compute(sound)[0]
        parts = [
            *self._signal(sound),
            tf.reduce_mean(coefficients, axis=0),
            tf.math.reduce_std(coefficients, axis=0),
            tf.reduce_max(coefficients, axis=0),
            tf.reduce_mean(FRAME_DESCRIPTORS["chroma"].compute(sound)[0], axis=0),
            power_to_db(tf.maximum(tf.reduce_mean(mel_power(sound)[0], axis=0), MIN_POWER)),
            *(
                tf.reduce_mean(FRAME_DESCRIPTORS[p].compute(sound)[0], axis=0)
                for p in MEAN_DESCRIPTORS[1:]
            ),
        ]
        return tf.cast(tf.concat(parts, axis=0), tf.float32)

    def _signal(self, sound: AudioFrames) -> list[Any]:
        """Eight tensors (1,) float64."""
        samples = sound.waveform[0]
        loudness = rms(sound)[0, :, 0]
        is_silent = loudness <= SILENCE_THRESHOLD * tf.reduce_mean(loudness)
        correlation = voice_autocorrelation(samples, self.framing.sample_rate_hz)
        numbers = [
            tf.reduce_mean(tf.abs(samples)),
            tf.math.reduce_std(samples),
            tf.reduce_mean(loudness),
            tf.math.reduce_std(loudness),
            tf.reduce_mean(tf.cast(is_silent, tf.float64)),
            tf.reduce_mean(tf.abs(harmonic(sound))),
            tf.reduce_max(correlation),
            tf.math.reduce_std(correlation),
        ]
        return [number[None] for number in numbers]

    def compute_output_shape(self, waveform_shape: Any, length_shape: Any = None) -> Any:
        return (waveform_shape[0], len(STATISTIC_NAMES))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **asdict(self.framing)}


@dataclass(frozen=True)
class StatisticsConfig:
    """Front end of the 276 statistics: one vector per clip.

    Attributes:
      sample_rate_hz: of the records.
      window_samples: samples that are read from the start of a clip.
    """

    sample_rate_hz: int = 16_000
    window_samples: int = 160_000
    offset_samples: int = 0
    stream: str = "audio"
    standardise_axis: int | None = 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the 276 values."""
        return STATISTIC_NAMES

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """(batch, 276) for the window, without a mask.

        Raises:
          UserError: records of another sampling rate.
        """
        waveform = audio_window(self, inputs, spec)
        layer = AcousticStatistics(self.sample_rate_hz, name="statistics")
        return Features(layer(waveform, inputs["audio_length"]))


CLIP_STATISTICS = StatisticsConfig()
