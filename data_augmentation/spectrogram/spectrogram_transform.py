"""Base class of layers that augment spectrograms inside the model, during training only.

Uses `keras.ops` and `keras.random` only, so it runs on every back end of Keras.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from affectstream.data_augmentation.transform import Transform, check_between


@Transform.register
class SpectrogramTransform(keras.layers.Layer):
    """Changes each spectrogram of a batch by chance while training; otherwise the identity.

    Args:
      probability: chance in [0, 1] of each example to be changed at all.
      seed: int from 0; the same seed repeats the same changes, call by call.
    Call arguments:
      spectrogram: (batch, bands, frames) or (batch, bands, frames, channels) float.
      training: changes only when True.
    Returns:
      the same shape and dtype.
    Raises:
      ValueError: naming an argument out of range, or a spectrogram of another rank.
    """

    stream: ClassVar[str] = "features"
    transform_name: ClassVar[str]
    # Channels are spectrograms of the same sound; all channels get the same change.
    max_channels: ClassVar[int] = 3

    def __init__(self, probability: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_between("probability", probability, 0.0, 1.0)
        check_between("seed", seed, 0, 2**31 - 1)
        self.probability = probability
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, spectrogram: Any, training: bool | None = None) -> Any:
        """Draws and applies when `training`, else returns the spectrogram itself."""
        if len(spectrogram.shape) not in (3, 4):
            raise ValueError(
                f"{self.transform_name} needs (batch, bands, frames) or (batch, bands, frames, 1),"
                f" received shape {tuple(spectrogram.shape)}"
            )
        return self.random_transform(spectrogram) if training else spectrogram

    @abc.abstractmethod
    def random_transform(self, spectrogram: Any) -> Any:
        """Draws for each example and applies it."""

    def begin_epoch(self, epoch: int, *keys: int) -> None:
        """Makes what is drawn in an epoch depend on (seed, epoch, keys) and the step in it only.

        Call it before each epoch, so that a resumed training repeats an undisturbed one; with keys
        of its own for each layer and each training, so that they do not draw alike.
        """
        epoch_seed = np.random.default_rng([self.seed, epoch, *keys]).integers(2**31)
        self.seed_generator.state.assign(np.array([epoch_seed, 0], dtype="uint32"))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"probability": self.probability, "seed": self.seed}

    def uniform(self, shape: tuple[Any, ...], low: float = 0.0, high: float = 1.0) -> Any:
        """Uniform float32 numbers in [low, high)."""
        return keras.random.uniform(shape, low, high, "float32", seed=self.seed_generator)

    def sample_selection(self, batch_size: Any) -> Any:
        """Which examples are changed: (batch, 1) bool."""
        return self.uniform((batch_size, 1)) < self.probability


def without_channel(spectrogram: Any) -> Any:
    """(batch, bands, frames) of either rank."""
    return ops.squeeze(spectrogram, 3) if len(spectrogram.shape) == 4 else spectrogram
