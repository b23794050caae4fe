"""Features of every audio frame, concatenated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing, frame_mask
from affectstream.modeling.features.audio.chroma import PITCH_CLASSES, chroma
from affectstream.modeling.features.audio.deltas import delta
from affectstream.modeling.features.audio.mel import NUM_MELS, mel_power
from affectstream.modeling.features.audio.mfcc import NUM_MFCCS, mfcc
from affectstream.modeling.features.audio.rms import rms
from affectstream.modeling.features.audio.spectral_contrast import NUM_OCTAVES, spectral_contrast
from affectstream.modeling.features.audio.spectral_shape import (
    bandwidth_hz,
    centroid_hz,
    flatness,
    roll_off_hz,
)
from affectstream.modeling.features.audio.zero_crossing_rate import zero_crossing_rate


@dataclass(frozen=True)
class FrameDescriptor:
    """One kind of feature: a function to (batch, frames, dim) float64, and the dim names.

    Attributes:
      compute: the function.
      names: (dim,) names of the last axis.
    """

    compute: Callable[[AudioFrames], Any]
    names: tuple[str, ...]


def numbered_names(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{number:02d}" for number in range(1, count + 1))


def _mfcc_deltas(order: int) -> Callable[[AudioFrames], Any]:
    return lambda sound: delta(mfcc(sound), sound.num_frames, order)


FRAME_DESCRIPTORS = {
    "mfcc": FrameDescriptor(mfcc, numbered_names("mfcc", NUM_MFCCS)),
    "mfcc_delta": FrameDescriptor(_mfcc_deltas(1), numbered_names("mfcc_delta", NUM_MFCCS)),
    "mfcc_delta2": FrameDescriptor(_mfcc_deltas(2), numbered_names("mfcc_delta2", NUM_MFCCS)),
    "chroma": FrameDescriptor(chroma, tuple(f"chroma_{name}" for name in PITCH_CLASSES)),
    "mel_power": FrameDescriptor(
        mel_power, tuple(f"mel_power_{number:03d}" for number in range(1, NUM_MELS + 1))
    ),
    "spectral_contrast": FrameDescriptor(
        spectral_contrast, numbered_names("spectral_contrast", NUM_OCTAVES + 1)
    ),
    "centroid_hz": FrameDescriptor(centroid_hz, ("centroid_hz",)),
    "bandwidth_hz": FrameDescriptor(bandwidth_hz, ("bandwidth_hz",)),
    "roll_off_hz": FrameDescriptor(roll_off_hz, ("roll_off_hz",)),
    "flatness": FrameDescriptor(flatness, ("flatness",)),
    "zero_crossing_rate": FrameDescriptor(zero_crossing_rate, ("zero_crossing_rate",)),
    "rms": FrameDescriptor(rms, ("rms",)),
}


def descriptor_names(parts: Sequence[str]) -> tuple[str, ...]:
    """Names of the last axis of `FrameFeatures(parts)`."""
    return tuple(name for part in parts for name in FRAME_DESCRIPTORS[part].names)


@keras.saving.register_keras_serializable(package="affectstream")
class FrameFeatures(keras.layers.Layer):
    """Selected features of every frame, concatenated on the last axis; they share one transform.

    Args:
      parts: keys of `FRAME_DESCRIPTORS`; each function names the librosa call that it equals for
        the same samples as float64.
      sample_rate_hz, fft_samples, hop_samples: see `Framing`.
    Call:
      waveform: (batch, samples) float32 in [-1, 1].
      length: (batch,) int, valid samples of each; 0 where the stream is missing.
    Returns:
      (batch, 1 + samples // hop, dim) float32; for a clip of n samples, the first 1 + n // hop
      frames equal those of the clip alone, the others are zero (see `FrameMask`).
    Attributes:
      transform_dtype: of all computed values; "float32" for LiteRT, its only type.
    Raises:
      ValueError: unknown parts; waveform is not rank 2.
    """

    def __init__(
        self,
        parts: Sequence[str],
        sample_rate_hz: int = Framing.sample_rate_hz,
        fft_samples: int = Framing.fft_samples,
        hop_samples: int = Framing.hop_samples,
        **kwargs: Any,
    ) -> None:
        # Spectra need more than half precision under any precision policy.
        super().__init__(**{**kwargs, "dtype": "float32"})
        unknown = [part for part in parts if part not in FRAME_DESCRIPTORS]
        if unknown or not parts:
            raise ValueError(f"parts must be of {list(FRAME_DESCRIPTORS)}; received {list(parts)}")
        self.parts = tuple(parts)
        self.framing = Framing(sample_rate_hz, fft_samples, hop_samples)
        self.transform_dtype = "float64"

    def call(self, waveform: Any, length: Any) -> Any:
        if len(waveform.shape) != 2:
            raise ValueError(f"waveform must be (batch, samples); received shape {waveform.shape}")
        sound = AudioFrames(waveform, length, self.framing, self.transform_dtype)
        values = tf.concat([FRAME_DESCRIPTORS[part].compute(sound) for part in self.parts], axis=-1)
        counted = tf.where(sound.mask[..., None], values, tf.zeros_like(values))
        return tf.cast(counted, tf.float32)

    def compute_output_shape(self, waveform_shape: Any, length_shape: Any = None) -> Any:
        samples = waveform_shape[1]
        frames = None if samples is None else self.framing.num_frames(samples)
        return (waveform_shape[0], frames, len(descriptor_names(self.parts)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parts": list(self.parts), **asdict(self.framing)}


@keras.saving.register_keras_serializable(package="affectstream")
class FrameMask(keras.layers.Layer):
    """Mask of the frames of a padded batch that belong to each clip.

    Args:
      num_frames: of the padded batch.
      hop_samples: between frames.
    Call:
      length: (batch,) int, samples of each clip; 0 where the stream is missing.
    Returns:
      (batch, num_frames) bool: the first 1 + length // hop, none for a missing stream.
    """

    def __init__(self, num_frames: int, hop_samples: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_frames = num_frames
        self.hop_samples = hop_samples

    def call(self, length: Any) -> Any:
        length = tf.cast(length, tf.int32)
        counts = tf.where(length > 0, 1 + length // self.hop_samples, 0)
        return frame_mask(counts, self.num_frames)

    def compute_output_spec(self, length: Any) -> Any:
        return keras.KerasTensor((length.shape[0], self.num_frames), dtype="bool")

    def get_config(self) -> dict[str, Any]:
        mine = {"num_frames": self.num_frames, "hop_samples": self.hop_samples}
        return {**super().get_config(), **mine}
