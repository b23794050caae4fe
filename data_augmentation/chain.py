"""Chains of transforms; their randomness depends on seed, epoch and record only."""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.core.key_value import parse_value
from affectstream.data_augmentation.transform import (
    AudioTransform,
    Parameters,
    TextTransform,
    Transform,
    VideoTransform,
)

SampledTransforms = list[tuple[str, Parameters | None]]
"""For each transform its name and its parameters, None where it is left out."""

Signal = TypeVar("Signal", np.ndarray, str)
"""Waveform (samples,) float32, frames (T, H, W, C) uint8, or text."""

# === Chance ===


def keyed_rng(seed: int, epoch: int, record_id: str, use: str) -> np.random.Generator:
    """A generator that depends on its four keys only, not on earlier draws.

    Args:
      seed: seed of the run.
      epoch: counted from 0.
      record_id: id of the clip; for a batch, the joined ids of its rows, or its number.
      use: purpose of the numbers, such as the name of a transform.
    """
    text = json.dumps([int(seed), int(epoch), record_id, use], ensure_ascii=False)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


# === Chain ===


@dataclass(frozen=True)
class Chain:
    """Applies transforms of one stream in order.

    The parameters of a transform depend on (seed, epoch, record id), its name and the number of
    earlier transforms with that name, not on the order of the records or on other transforms.

    Attributes:
      transforms: all of "audio", all of "video" or all of "text"; may be empty.
      seed: of the run.
    Raises:
      ValueError: if the transforms are of different streams, or of one that a chain cannot apply.
    """

    transforms: tuple[Transform, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in (AudioTransform, VideoTransform, TextTransform):
            if all(isinstance(transform, kind) for transform in self.transforms):
                return
        received = ", ".join(f"{type(t).__name__} ({t.stream})" for t in self.transforms)
        raise ValueError(
            f"a chain holds transforms of audio, of video or of text alone, received {received}"
        )

    def __call__(self, signal: Signal, sample_rate_hz: int | None, key: tuple[int, str]) -> Signal:
        """Draws parameters for one clip and applies them.

        Args:
          signal: waveform (samples,) float32, frames (T, H, W, C) uint8, or text.
          sample_rate_hz: rate of the waveform; None for frames and text.
          key: (epoch, record id).
        Returns:
          the transformed signal; the signal itself where nothing applies.
        Raises:
          ValueError: a waveform without its rate, or a signal of another shape or dtype.
        """
        return self.apply_all(signal, sample_rate_hz, self.sample_all(signal, sample_rate_hz, key))

    def sample_all(
        self, signal: np.ndarray | str, sample_rate_hz: int | None, key: tuple[int, str]
    ) -> SampledTransforms:
        """Draws for one clip: (name, parameters) for each transform, None for one that is skipped.

        Sound and picture: every transform sees the untransformed signal when it draws. Text: it
        sees what those before it left, since its parameters count words. An empty signal draws
        nothing; nor does a text without a word.
        """
        has_content = bool(signal.strip() if isinstance(signal, str) else signal.size)
        epoch, record_id = key
        seen: Counter[str] = Counter()
        drawn: SampledTransforms = []
        for transform in self.transforms:
            use = f"{transform.name}#{seen[transform.name]}"
            seen[transform.name] += 1
            rng = keyed_rng(self.seed, epoch, record_id, use)
            parameters = None
            if rng.random() < transform.probability and has_content:
                parameters = transform.sample(rng, signal, *_rate(transform, sample_rate_hz))
                if isinstance(signal, str):
                    signal = transform.apply(signal, **parameters)
            drawn.append((transform.name, parameters))
        return drawn

    def apply_all(
        self, signal: Signal, sample_rate_hz: int | None, drawn: SampledTransforms
    ) -> Signal:
        """Applies what `sample_all` drew; pure.

        Raises:
          ValueError: if `drawn` names other transforms than this chain's.
        """
        if [name for name, _ in drawn] != [transform.name for transform in self.transforms]:
            raise ValueError(f"drawn for other transforms: {[name for name, _ in drawn]}")
        for transform, (_, parameters) in zip(self.transforms, drawn, strict=True):
            if parameters is not None:
                signal = transform.apply(signal, *_rate(transform, sample_rate_hz), **parameters)
        return signal


def _rate(transform: Transform, sample_rate_hz: int | None) -> tuple[int, ...]:
    """The sample rate as further arguments: one for audio, none otherwise."""
    if not isinstance(transform, AudioTransform):
        return ()
    if sample_rate_hz is None:
        raise ValueError(f"{transform.name} needs sample_rate_hz, received None")
    return (sample_rate_hz,)


# === Recipe text ===


def parse_transforms(text: str) -> tuple[Transform, ...]:
    """Parses the transforms of a recipe, in order.

    Args:
      text: names separated by commas, each with `:parameter=value` for what differs from its
        default, such as "noise:min_snr_db=5:probability=0.3,speed,time_shift:wrap=true".
    Returns:
      one transform for each name, of any stream; empty for an empty text.
    Raises:
      UserError: an unknown name, parameter or value; the message names the known ones.
    """
    return tuple(_parse_one(part.strip()) for part in text.split(",")) if text.strip() else ()


def transforms_of_stream(transforms: tuple[Transform, ...], stream: str) -> tuple[Transform, ...]:
    """The transforms of one stream ("audio", "video", "text", "features", "batch"), in order."""
    return tuple(transform for transform in transforms if transform.stream == stream)


def recipe_text_of_stream(text: str, stream: str) -> str:
    """The transforms of one stream in a recipe's value, as text.

    Raises:
      UserError: see `parse_transforms`.
    """
    parts = [part for part in text.split(",") if part.strip()]
    return ",".join(part for part in parts if _parse_one(part.strip()).stream == stream)


def _parse_one(part: str) -> Transform:
    """One transform from "name:parameter=value:..."."""
    name, *assignments = (piece.strip() for piece in part.split(":"))
    if not name:
        raise UserError(f"a name is missing; known: {', '.join(registry.names('transforms'))}")
    transform = registry.load("transforms", name)
    hints = typing.get_type_hints(transform.__init__)
    fields = {
        field: hints[field]
        for field, parameter in inspect.signature(transform.__init__).parameters.items()
        if field != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    values: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, value = (piece.strip() for piece in assignment.partition("="))
        if not equals or field not in fields:
            raise UserError(
                f"{name} takes no {assignment!r}; write parameter=value with one of: "
                f"{', '.join(fields)}"
            )
        if field in values:
            raise UserError(f"{name}: {field} is given twice; keep one")
        values[field] = parse_value(f"{name}:{field}", value, fields[field])
    try:
        return transform(**values)
    except ValueError as error:
        raise UserError(f"{name}: {error}; choose another value") from error
