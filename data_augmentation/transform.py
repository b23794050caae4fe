"""A transform: random parameters are drawn by `sample`, the signal is changed by `apply`.

With the parameters given, `apply` is a pure function: nothing random happens in it, so a fixed
parameter gives an exact value, and what was done to a clip can be written down as JSON.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Parameters = dict[str, Any]
"""What `sample` draws and `apply` takes as keywords: JSON-able names and values."""

STREAMS = ("audio", "video", "text", "features", "batch")

# === Checks of fields ===


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuses a field outside [low, high].

    Raises:
      ValueError: naming the field and the value received; NaN and infinity are refused too.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], received {value!r}")


def check_ordered(low_name: str, low: float, high_name: str, high: float) -> None:
    """Refuses a range whose lower end lies above its upper end.

    Raises:
      ValueError: naming both fields and the values received.
    """
    if low > high:
        raise ValueError(f"{low_name} must not exceed {high_name}, received {low!r} and {high!r}")


# === Transforms ===


@dataclass(frozen=True, kw_only=True)
class Transform(abc.ABC):
    """What all transforms share.

    Attributes:
      name: as in the table of transforms.
      stream: what it works on: "audio", "video", "text", "features" (inside the model) or "batch".
      probability: chance in [0, 1] that a clip is changed at all; drawn by the caller of `sample`
        (`affectstream.data_augmentation.chain.Chain`), or for each row by a batch transform itself.
    """

    name: ClassVar[str]
    stream: ClassVar[str]

    probability: float = 0.5

    def __post_init__(self) -> None:
        """Checks the fields; a subclass calls this and adds its own checks.

        Raises:
          ValueError: naming the field and the value received.
        """
        check_between("probability", self.probability, 0.0, 1.0)

    @abc.abstractmethod
    def sample(self, *args: Any, **kwargs: Any) -> Parameters:
        """Draws parameters; the only place where chance enters."""

    @abc.abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Changes the signal by the given parameters; pure, never writes into its input."""


@dataclass(frozen=True, kw_only=True)
class AudioTransform(Transform):
    """A transform of a mono waveform; a subclass gives `sample` and `_apply`."""

    stream: ClassVar[str] = "audio"

    @abc.abstractmethod
    def sample(
        self, rng: np.random.Generator, waveform: np.ndarray, sample_rate_hz: int
    ) -> Parameters:
        """Draws the parameters that `apply` takes, for a waveform (samples,) float32."""

    def apply(self, waveform: np.ndarray, sample_rate_hz: int, **parameters: Any) -> np.ndarray:
        """Applies fixed parameters.

        Args:
          waveform: (samples,) float32, finite, in [-1, 1].
          sample_rate_hz: its rate, above 0.
          **parameters: as named by the transform.
        Returns:
          (samples',) float32 in [-1, 1]; where the result would leave that range, all of it is
          scaled down to peak 1 rather than clipped. An empty waveform is returned unchanged.
        Raises:
          ValueError: if waveform is not rank 1 float32, or sample_rate_hz is not above 0.
        """
        if waveform.ndim != 1 or waveform.dtype != np.float32:
            raise ValueError(
                f"{self.name} needs a (samples,) float32 waveform, "
                f"received {waveform.shape} {waveform.dtype}"
            )
        if sample_rate_hz <= 0:
            raise ValueError(f"sample_rate_hz must be above 0, received {sample_rate_hz!r}")
        if waveform.size == 0:
            return waveform
        return _within_full_scale(self._apply(waveform, sample_rate_hz, **parameters))

    @abc.abstractmethod
    def _apply(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """`apply` on a checked waveform of at least one sample; may leave [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class VideoTransform(Transform):
    """A transform of the frames of one clip, the same for all of them."""

    stream: ClassVar[str] = "video"

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, frames: np.ndarray) -> Parameters:
        """Draws the parameters that `apply` takes, for frames (T, H, W, C) uint8."""

    def apply(self, frames: np.ndarray, **parameters: Any) -> np.ndarray:
        """Applies fixed parameters.

        Args:
          frames: (T, H, W, C) uint8, C from 1 to 4.
          **parameters: as named by the transform.
        Returns:
          the same shape, uint8. A clip without a frame is returned unchanged.
        Raises:
          ValueError: if frames is not rank 4 uint8 with 1 to 4 channels.
        """
        if frames.ndim != 4 or frames.dtype != np.uint8 or not 1 <= frames.shape[3] <= 4:
            raise ValueError(
                f"{self.name} needs (T, H, W, 1 to 4) uint8 frames, "
                f"received {frames.shape} {frames.dtype}"
            )
        if frames.size == 0:
            return frames
        return self._apply(np.ascontiguousarray(frames), **parameters)

    @abc.abstractmethod
    def _apply(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """`apply` on checked, contiguous frames, at least one."""


@dataclass(frozen=True, kw_only=True)
class TextTransform(Transform):
    """A transform of what is said; a subclass gives `sample` and `_apply`.

    Words are what whitespace divides, in any script; see
    `affectstream.data_augmentation.text.word_tokens`.
    """

    stream: ClassVar[str] = "text"

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, text: str) -> Parameters:
        """Draws the parameters that `apply` takes, for a text of any length."""

    def apply(self, text: str, **parameters: Any) -> str:
        """Applies fixed parameters.

        Args:
          text: any; without a word it is returned unchanged.
          **parameters: as named by the transform.
        Returns:
          a text of at least one word.
        Raises:
          ValueError: if text is not a str, the parameters do not fit it, or nothing would be left.
        """
        if not isinstance(text, str):
            raise ValueError(f"{self.name} needs a str, received {type(text).__name__}")
        if not text.strip():
            return text
        result = self._apply(text, **parameters)
        if not result.strip():
            raise ValueError(f"{self.name} would leave nothing of {text!r}, given {parameters}")
        return result

    @abc.abstractmethod
    def _apply(self, *args: Any, **kwargs: Any) -> str:
        """`apply` on a text of at least one word."""


def _within_full_scale(waveform: np.ndarray) -> np.ndarray:
    """Scales a waveform that exceeds [-1, 1] down to peak 1; float32 out."""
    peak = max(float(waveform.max()), -float(waveform.min()))
    if peak > 1.0:
        waveform = np.clip(waveform / np.float32(peak), -1.0, 1.0)
    return waveform.astype(np.float32, copy=False)
