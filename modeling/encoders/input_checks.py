"""Checks of the feature shapes that an encoder accepts."""

from __future__ import annotations

from typing import Any

from affectstream.core.errors import UserError

_REMEDY = "choose others (--set features=NAME, see `list features`)"


def require_image(
    encoder: str, input_shape: tuple[Any, ...], min_px: int, num_channels: tuple[int, ...] = (1, 3)
) -> None:
    """Raises UserError unless `input_shape` is (height, width, channels) with sides of `min_px`.

    Args:
      encoder: name, for the message.
      min_px: smallest height and width that survive the strides.
      num_channels: accepted numbers of channels.
    """
    is_picture = (
        len(input_shape) == 3
        and all(isinstance(size, int) for size in input_shape)
        and min(input_shape[:2]) >= min_px
        and input_shape[2] in num_channels
    )
    if not is_picture:
        channels = " or ".join(map(str, num_channels))
        raise UserError(
            f"encoder {encoder!r} needs pictures (bands, frames, {channels}) of {min_px} x {min_px}"
            f" or more, these features are {tuple(input_shape)}; {_REMEDY}"
        )


def require_sequence(encoder: str, input_shape: tuple[Any, ...]) -> None:
    """Raises UserError unless `input_shape` is (frames or None, dim)."""
    if len(input_shape) != 2 or not isinstance(input_shape[1], int) or input_shape[0] == 0:
        raise UserError(
            f"encoder {encoder!r} needs sequences (frames, dim), these features are"
            f" {tuple(input_shape)}; {_REMEDY}"
        )


def require_vector(encoder: str, input_shape: tuple[Any, ...], min_dim: int) -> None:
    """Raises UserError unless `input_shape` is (dim,) with `min_dim` or more."""
    is_vector = len(input_shape) == 1 and isinstance(input_shape[0], int)
    if not is_vector or input_shape[0] < min_dim:
        raise UserError(
            f"encoder {encoder!r} needs one vector of {min_dim} or more numbers a clip, these"
            f" features are {tuple(input_shape)}; {_REMEDY}"
        )


def require_tokens(encoder: str, input_shape: tuple[Any, ...]) -> None:
    """Raises UserError unless `input_shape` is (tokens or None,)."""
    if len(input_shape) != 1 or input_shape[0] is not None:
        raise UserError(
            f"encoder {encoder!r} needs tokens of a text, these features are"
            f" {tuple(input_shape)}; {_REMEDY}"
        )
