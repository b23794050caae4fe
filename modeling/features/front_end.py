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
    """What an encoder sees.

    Attributes:
      values: (batch, *shape) float; pictures (bands, frames, channels), sequences (frames, dim),
        vectors (dim,), faces (frames, height, width, channels).
      mask: (batch, frames) bool, True for the frames that count; None where all do, or where there
        is no time axis.
      vocabulary_size: of tokens (batch, tokens) int32, the numbers that there are; else None.
    """

    values: keras.KerasTensor
    mask: keras.KerasTensor | None = None
    vocabulary_size: int | None = None


class FrontEnd(Protocol):
    """One row of the registry's `features`.

    Attributes:
      stream: the stream whose raw inputs it takes.
      standardise_axis: axis or axes of `values` (batch is 0) of which each entry gets its own mean
        and deviation, fitted on the training part; None leaves the values as they are.
    """

    @property
    def stream(self) -> str: ...

    @property
    def standardise_axis(self) -> Axes | None: ...

    def connect(self, inputs: dict[str, keras.KerasTensor], spec: InputSpec) -> Features:
        """Builds the graph from `spec.inputs(stream)`.

        Raises:
          UserError: records that this front end cannot work on.
        """
        ...


class AudioFrontEnd(FrontEnd, Protocol):
    """A front end of sound.

    Attributes:
      sample_rate_hz: of the waveforms it is made for.
      window_samples: stretch of sound looked at, `offset_samples` into a longer clip.
    """

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...

    @property
    def offset_samples(self) -> int: ...


class TextFrontEnd(FrontEnd, Protocol):
    """A front end of words: a frozen dataclass whose fields are settings of the recipe."""

    def fitted(self, texts: Sequence[str], pretrained: str) -> TextFrontEnd:
        """With a vocabulary.

        Args:
          texts: of the training part, nothing else.
          pretrained: weights of the encoder, which may bring a vocabulary of their own, or "none".
        Raises:
          UserError: nothing can be made of these.
        """
        ...

    def from_model(self, model: keras.Model) -> TextFrontEnd:
        """With the vocabulary that a trained model of one stream holds.

        Raises:
          ValueError: it was trained with another front end.
        """
        ...


def max_samples_of_front_end(front_end: AudioFrontEnd) -> int:
    """Number of audio samples that the front end reads of a clip."""
    return front_end.window_samples + front_end.offset_samples


def vector_names(front_end: FrontEnd, name: str) -> tuple[str, ...]:
    """Names of the features of a front end that gives one vector a clip, as tables hold them.

    Args:
      name: of the front end, for the message.
    Raises:
      UserError: it gives pictures or sequences.
    """
    names: tuple[str, ...] = getattr(front_end, "names", ())
    if not names:
        raise UserError(
            f"features {name!r} are no table of numbers a clip; use clip_statistics or tfidf"
            " (see `list features`)"
        )
    return names
