"""SpecAugment: masks frequency bands and time spans of the spectrogram, inside the model.

Uses `keras.ops` and `keras.random` only, so it runs on every back end of Keras.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from affectstream.data_augmentation.spectrogram.spectrogram_transform import SpectrogramTransform
from affectstream.data_augmentation.transform import check_between

# === Layer ===


@keras.saving.register_keras_serializable(package="affectstream")
class SpecAugment(SpectrogramTransform):
    """Masks random bands and stretches of each spectrogram while training; otherwise the identity.

    Each mask's width is drawn uniformly from 0 to its largest, its place uniformly among those
    where it fits, for each example on its own. There is no time warping, which the authors found
    to matter least.

    Args:
      num_frequency_masks: bands for each example, from 0.
      max_frequency_mask_bins: largest height of a band in mel bins, from 0.
      num_time_masks: stretches for each example, from 0.
      max_time_mask_frames: largest width of a stretch in spectrogram frames, from 0.
      fill_value: what masked places receive, in the unit of the spectrogram; None for the mean of
        each example's own spectrogram.
      probability, seed, and what a call takes and raises: see `SpectrogramTransform`.
    Source: Park et al. 2019, "SpecAugment".

    Example:

        layer = SpecAugment(max_frequency_mask_bins=8, max_time_mask_frames=20, seed=7)
        masked = layer(log_mel, training=True)
    """

    transform_name: ClassVar[str] = "spec_augment"

    def __init__(
        self,
        num_frequency_masks: int = 2,
        max_frequency_mask_bins: int = 10,
        num_time_masks: int = 2,
        max_time_mask_frames: int = 25,
        fill_value: float | None = None,
        probability: float = 1.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        check_between("num_frequency_masks", num_frequency_masks, 0, 100)
        check_between("max_frequency_mask_bins", max_frequency_mask_bins, 0, 10_000)
        check_between("num_time_masks", num_time_masks, 0, 100)
        check_between("max_time_mask_frames", max_time_mask_frames, 0, 1_000_000)
        if fill_value is not None:
            check_between("fill_value", fill_value, -1e6, 1e6)
        self.num_frequency_masks = num_frequency_masks
        self.max_frequency_mask_bins = max_frequency_mask_bins
        self.num_time_masks = num_time_masks
        self.max_time_mask_frames = max_time_mask_frames
        self.fill_value = fill_value

    def random_transform(self, spectrogram: Any) -> Any:
        """Draws masks and applies them."""
        batch_size, num_mels, num_frames = ops.shape(spectrogram)[:3]
        return self.apply_masks(spectrogram, **self.sample_masks(batch_size, num_mels, num_frames))

    def sample_masks(self, batch_size: Any, num_mels: Any, num_frames: Any) -> dict[str, Any]:
        """Draws masks for a batch.

        Returns:
          `apply_masks`' arguments, each (batch, masks) int32.
        """
        chosen = self.sample_selection(batch_size)
        band_start, band_width = self._sample_spans(
            batch_size, self.num_frequency_masks, self.max_frequency_mask_bins, num_mels
        )
        start, width = self._sample_spans(
            batch_size, self.num_time_masks, self.max_time_mask_frames, num_frames
        )
        return {
            "frequency_start_bins": band_start,
            "frequency_width_bins": ops.where(chosen, band_width, 0),
            "time_start_frames": start,
            "time_width_frames": ops.where(chosen, width, 0),
        }

    def apply_masks(
        self,
        spectrogram: Any,
        frequency_start_bins: Any,
        frequency_width_bins: Any,
        time_start_frames: Any,
        time_width_frames: Any,
    ) -> Any:
        """Fills the given bands and stretches; deterministic.

        Args:
          spectrogram: (batch, mels, frames) or (batch, mels, frames, channels) float.
          frequency_start_bins, frequency_width_bins: (batch, masks) int32.
          time_start_frames, time_width_frames: (batch, masks) int32.
        Returns:
          the shape and dtype of spectrogram.
        """
        _, num_mels, num_frames = ops.shape(spectrogram)[:3]
        bands = _cover(frequency_start_bins, frequency_width_bins, num_mels)
        stretches = _cover(time_start_frames, time_width_frames, num_frames)
        hidden = ops.logical_or(ops.expand_dims(bands, 2), ops.expand_dims(stretches, 1))
        inner_axes = tuple(range(1, len(spectrogram.shape)))
        if len(inner_axes) == 3:
            hidden = ops.expand_dims(hidden, 3)
        if self.fill_value is None:
            fill = ops.mean(spectrogram, axis=inner_axes, keepdims=True)
        else:
            fill = ops.cast(self.fill_value, spectrogram.dtype)
        return ops.where(hidden, fill, spectrogram)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "num_frequency_masks": self.num_frequency_masks,
            "max_frequency_mask_bins": self.max_frequency_mask_bins,
            "num_time_masks": self.num_time_masks,
            "max_time_mask_frames": self.max_time_mask_frames,
            "fill_value": self.fill_value,
        }

    def _sample_spans(
        self, batch_size: Any, num_masks: int, max_width: int, size: Any
    ) -> tuple[Any, Any]:
        """Starts and widths (batch, num_masks) int32 of spans that fit into [0, size)."""
        size = ops.cast(size, "float32")
        largest = ops.minimum(ops.cast(max_width, "float32"), size)
        width = ops.floor(self.uniform((batch_size, num_masks)) * (largest + 1.0))
        width = ops.minimum(width, largest)
        room = size - width
        start = ops.floor(self.uniform((batch_size, num_masks)) * (room + 1.0))
        return ops.cast(ops.minimum(start, room), "int32"), ops.cast(width, "int32")


def _cover(start: Any, width: Any, size: Any) -> Any:
    """Places in any span: starts and widths (batch, masks) int32 -> (batch, size) bool."""
    place = ops.reshape(ops.arange(size, dtype="int32"), (1, 1, -1))
    start, width = ops.expand_dims(start, 2), ops.expand_dims(width, 2)
    return ops.any(ops.logical_and(place >= start, place < start + width), axis=1)
