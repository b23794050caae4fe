"""Zeroes the inputs of missing streams."""

from __future__ import annotations

from typing import Any

from keras import ops


def zero_if_missing(values: Any, present: Any) -> Any:
    """`values` with zeros in the rows whose stream is missing; NaN in these rows is removed.

    Args:
      values: (batch, D).
      present: (batch,) 0 or 1.
    Returns:
      (batch, D) of the dtype of `values`.
    """
    return ops.where(ops.expand_dims(present, 1) > 0, values, ops.zeros_like(values))
