"""Sliding median, computed from minima and maxima of whole arrays."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def sliding_median(values: Any, width: int) -> Any:
    """Median over `width` rows around each row, with the array mirrored at both ends.

    Runs of 1, 2, 4, ... rows are sorted for all positions at once, each merged from two shorter
    ones, so that neighbouring positions share work. It needs about two arrays per row of `width`.

    Args:
      values: (rows, columns) float.
      width: odd, 3 or more.
    Returns:
      (rows, columns), equal to `scipy.ndimage.median_filter(values, (width, 1), mode="reflect")`,
      which errs for an array of two rows.
    Raises:
      ValueError: a width that is even or below 3.
    Source: Batcher 1968, odd-even merge.
    """
    if width < 3 or width % 2 == 0:
        raise ValueError(f"width must be odd and 3 or more; received {width}")
    rows = tf.shape(values)[0]
    half = width // 2
    turn = tf.math.floormod(tf.range(-half, rows + half), 2 * rows)
    runs = {1: [tf.gather(values, tf.minimum(turn, 2 * rows - 1 - turn))]}
    lower, upper = _run(runs, half + 1), _run(runs, half)
    low, high = _rows(lower, 0, rows), _rows(upper, half + 1, rows)
    # The k-th of two sorted lists is the minimum, over all a + b = k, of the greater of their ends.
    median = low[half]
    for place in range(half):
        median = tf.minimum(median, tf.maximum(low[place], high[half - 1 - place]))
    return median


def _run(runs: dict[int, list[Any]], size: int) -> list[Any]:
    """The `size` values from each row on in rising order, one array per rank."""
    if size not in runs:
        first = 1 << ((size - 1).bit_length() - 1)
        left, right = _run(runs, first), _run(runs, size - first)
        rows = tf.shape(runs[1][0])[0] - size + 1
        runs[size] = _merged(_rows(left, 0, rows), _rows(right, first, rows))
    return runs[size]


def _rows(arrays: list[Any], first: int, count: Any) -> list[Any]:
    begin, size = tf.stack([first, 0]), tf.stack([count, -1])
    return [tf.slice(one, begin, size) for one in arrays]


def _merged(a: list[Any], b: list[Any]) -> list[Any]:
    """Merges two sorted lists of arrays."""
    if not a or not b:
        return a or b
    if len(a) == len(b) == 1:
        return [tf.minimum(a[0], b[0]), tf.maximum(a[0], b[0])]
    even, odd = _merged(a[::2], b[::2]), _merged(a[1::2], b[1::2])
    ordered = [even[0]]
    for place in range(max(len(even) - 1, len(odd))):
        pair = even[place + 1 : place + 2] + odd[place : place + 1]
        if len(pair) == 2:
            ordered += [tf.minimum(*pair), tf.maximum(*pair)]
        else:
            ordered += pair
    return ordered
