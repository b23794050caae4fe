"""Protocol of front ends: raw inputs of one stream -> encoder inputs, in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import keras

from affectstream.core.errors import UserError
from affectstream.modeling.input_spec import InputSpec

# One axis of an array, or several.
Axes = int | tuple[int, ...]


@dataclass(frozen=True)
class Features:
    """Inputs of an encoder.

    Attributes:
      values: (batch, *shape) float; images (bands, frames, channels), sequences (frames, dim),
        vectors (dim,), faces (frames, height, width, channels).
      mask: (batch, frames) bool, True for valid frames; None if all are valid or there is no time
        axis.
      vocabulary_size: number of token ids, for tokens (batch, tokens) int32; else None.
    """

    values: keras.KerasTensor
    mask: keras.KerasTensor | None = None
    vocabulary_size: int | None = None


class FrontEnd(Protocol):
    """One row of the registry's `features`.

    Attributes:
      stream: the stream whose raw inputs it reads.
      standardise_axis: axis or axes of `values` (batch is 0) along which each entry gets its own
        mean and deviation, fitted on the training split; None leaves the values unchanged.
    """

    @property
    def stream(self) -> str: ...

    @property
    def standardise_axis(self) -> Axes | None: ...

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """Builds the graph from `spec.inputs(stream)`.

        Raises:
          UserError: records that this front end cannot process.
        """
        ...


class AudioFrontEnd(FrontEnd, Protocol):
    """An audio front end.

    Attributes:
      sample_rate_hz: of its input waveforms.
      window_samples: samples that are read, from `offset_samples` on in a longer clip.
    """

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...

    @property
    def offset_samples(self) -> int: ...


class TextFrontEnd(FrontEnd, Protocol):
    """A text front end: a frozen dataclass whose fields are settings of the recipe."""

    def fitted(self, texts: Sequence[str], pretrained: str) -> TextFrontEnd:
        """Returns the front end with a fitted vocabulary.

        Args:
          texts: only from the training split.
          pretrained: weights of the encoder, which may define the vocabulary, or "none".
        Raises:
          UserError: no vocabulary can be fitted.
        """
        ...

    def from_model(self, model: keras.Model) -> TextFrontEnd:
        """Returns the front end with the vocabulary of a trained single-stream model.

        Raises:
          ValueError: it was trained with another front end.
        """
        ...


def max_samples_of_front_end(front_end: AudioFrontEnd) -> int:
    """Number of audio samples that the front end reads from a clip."""
    return front_end.window_samples + front_end.offset_samples


def vector_names(front_end: FrontEnd, name: str) -> tuple[str, ...]:
    """Feature names of a front end with one vector per clip, as used in tables.

    Args:
      name: name of the front end, for the message.
    Raises:
      UserError: its features are images or sequences.
    """
    names: tuple[str, ...] = getattr(front_end, "names", ())
    if not names:
        raise UserError(
            f"features {name!r} are no table of numbers a clip; use clip_statistics or tfidf"
            " (see `list features`)"
        )
    return names
