"""Vocal tract length perturbation: warps the band axis of spectrograms inside the model."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from affectstream.data_augmentation.spectrogram.spectrogram_transform import (
    SpectrogramTransform,
    without_channel,
)
from affectstream.data_augmentation.transform import check_between

# Share of the axis below which all bands are moved alike; above it the rest is fitted in.
KNEE = 0.8


@keras.saving.register_keras_serializable(package="affectstream")
class Vtlp(SpectrogramTransform):
    """Vocal tract length perturbation: stretches or squeezes the band axis of each spectrogram.

    What stood at band `warp * b` comes to band b; above the knee (0.8 of the axis) the rest is
    moved linearly, so that the highest band stays the highest. The paper warps the axis in Hz
    before the filter bank; here the axis is that of the bands (mel), where formants move by a
    share that grows with frequency.

    Args:
      max_warp: the factor is drawn uniformly from 1 - max_warp to 1 + max_warp; within [0, 0.5].
      probability, seed, and what a call takes and raises: see `SpectrogramTransform`.
    Source: Jaitly & Hinton 2013, "Vocal tract length perturbation (VTLP) improves speech
      recognition", equation 1.
    """

    transform_name: ClassVar[str] = "vtlp"
    max_channels: ClassVar[int] = 1  # bands of several pictures stand for other frequencies

    def __init__(
        self, max_warp: float = 0.1, probability: float = 1.0, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        check_between("max_warp", max_warp, 0.0, 0.5)
        self.max_warp = max_warp

    def random_transform(self, spectrogram: Any) -> Any:
        """Draws a factor for each example and applies it."""
        batch_size = ops.shape(spectrogram)[0]
        warp = self.uniform((batch_size, 1), 1.0 - self.max_warp, 1.0 + self.max_warp)
        return self.apply_warp(spectrogram, ops.where(self.sample_selection(batch_size), warp, 1.0))

    def apply_warp(self, spectrogram: Any, warp: Any) -> Any:
        """Moves the bands by given factors; deterministic.

        Args:
          spectrogram: (batch, bands, frames) or (batch, bands, frames, 1) float.
          warp: (batch, 1) float, above 0.
        Returns:
          the shape and dtype of spectrogram.
        """
        num_bands = spectrogram.shape[1]
        band = ops.arange(num_bands, dtype="float32")[None]
        last = float(num_bands - 1)
        knee = KNEE * last * ops.minimum(warp, 1.0)  # where the source bends
        slope = (last - knee) / (last - knee / warp)
        source = ops.where(band <= knee / warp, warp * band, last - slope * (last - band))
        # (batch, to, from): each band from its two neighbours in the source.
        weights = ops.maximum(1.0 - ops.abs(source[:, :, None] - band[:, None, :]), 0.0)
        weights = ops.cast(weights, spectrogram.dtype)
        moved = ops.matmul(weights, without_channel(spectrogram))
        return ops.reshape(moved, ops.shape(spectrogram))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"max_warp": self.max_warp}
