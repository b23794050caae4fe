"""MixStyle: mixes the mean and deviation of each band with those of another clip."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from affectstream.data_augmentation.spectrogram.spectrogram_transform import SpectrogramTransform
from affectstream.data_augmentation.transform import check_between

MIN_DEVIATION = 1e-3


@keras.saving.register_keras_serializable(package="affectstream")
class MixStyle(SpectrogramTransform):
    """Gives each band a mean and deviation over time between its own and another example's.

    The label stays: what a band does over time is kept, only where it lies changes. The share of
    the own statistics is drawn from Beta(alpha, alpha). Unlike in the paper it is a half at least,
    since level tells of emotion, too, and is drawn for each example rather than for the batch.

    Args:
      alpha: of the beta distribution, above 0.
      probability, seed, and what a call takes and raises: see `SpectrogramTransform`.
    Source: Zhou et al. 2021, "Domain generalization with MixStyle"; Kim et al. 2022 (by band).
    """

    transform_name: ClassVar[str] = "mix_style"

    def __init__(
        self, alpha: float = 0.3, probability: float = 0.5, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        check_between("alpha", alpha, 1e-3, 1e3)
        self.alpha = alpha

    def random_transform(self, spectrogram: Any) -> Any:
        """Draws a partner and a share for each example and applies them."""
        size = ops.shape(spectrogram)[0]
        share = keras.random.beta((size, 1), self.alpha, self.alpha, seed=self.seed_generator)
        share = ops.where(self.sample_selection(size), ops.maximum(share, 1.0 - share), 1.0)
        partner = keras.random.shuffle(ops.arange(size), seed=self.seed_generator)
        return self.apply_mix(spectrogram, share, partner)

    def apply_mix(self, spectrogram: Any, share: Any, partner: Any) -> Any:
        """Blends statistics by given shares; deterministic.

        Args:
          spectrogram: (batch, bands, frames) or (batch, bands, frames, channels) float.
          share: (batch, 1) float in [0, 1], of the own statistics.
          partner: (batch,) int, the example that gives the rest.
        Returns:
          the shape and dtype of spectrogram.
        """
        mean = ops.mean(spectrogram, axis=2, keepdims=True)
        deviation = ops.maximum(ops.std(spectrogram, axis=2, keepdims=True), MIN_DEVIATION)
        share = ops.cast(share, spectrogram.dtype)
        share = ops.reshape(share, (-1, *[1] * (len(spectrogram.shape) - 1)))
        mixed_mean = share * mean + (1 - share) * ops.take(mean, partner, axis=0)
        mixed = share * deviation + (1 - share) * ops.take(deviation, partner, axis=0)
        return (spectrogram - mean) / deviation * mixed + mixed_mean

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"alpha": self.alpha}
